#pragma once
// The job's training data, opened by all ranks together.
//
// A data set has tens of thousands of shards and a job hundreds of ranks: were every rank to look
// into every shard, a start would cost tens of millions of opens on a shared file system. The root
// reads the folders' lists (data/shard_list.h) and hands them on; each rank looks at the size and
// time of an equal part of the shards, opens those that are not as the list says, and tells the
// others.

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "worker/comm/comm.h"

namespace contrail::worker {

// Collective. The data set that `patterns` stand for on rank 0. A job asks once for each shard: for
// its size and time where a list has it, else it opens it. `moved` is told of this rank's progress:
// paths looked at, bytes of shards passed. Throws AgreedError, naming file and rank: what
// data::ReadShardHead throws, E-DATA-EMPTY, and E-RANKS-DISAGREE or E-DATA-MISSING where a rank
// does not see a shard as the rank that looked into it did.
std::shared_ptr<const data::Dataset> OpenData(Comm& comm, const std::vector<std::string>& patterns,
                                              const data::CaptionKey& caption_key = {},
                                              const data::OnBytes& moved = {},
                                              const std::string& index_dir = "");

}  // namespace contrail::worker
