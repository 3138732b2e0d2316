#pragma once
// End records of ranks that are not seen here, read by a thread of its own: the file system may
// hang, whoever watches must not.

#include <map>
#include <memory>
#include <vector>

#include "monitoring/end_record.h"

namespace contrail::launcher {

class EndRecordReader {
 public:
  // Begins to read the records of these ranks, again and again until all are there.
  EndRecordReader(const monitor::RunDir& run, int attempt, std::vector<int> ranks);
  ~EndRecordReader();  // waits for nothing
  EndRecordReader(const EndRecordReader&) = delete;
  EndRecordReader& operator=(const EndRecordReader&) = delete;

  std::map<int, monitor::EndRecord> Found() const;  // by rank
  bool LookedOnce() const;                          // every one has been looked for

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace contrail::launcher
