#include "checkpoint/save.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

#include "checkpoint/format.h"
#include "checkpoint/skeleton.h"
#include "common/error.h"
#include "common/hash.h"

namespace contrail::ckpt {
namespace {

std::vector<RankRanges> RanksOfNode(const SavePlan& plan, int node) {
  std::vector<RankRanges> ranks;
  for (int rank = 0; rank < plan.topology.size; ++rank)
    if (plan.topology.node_of_rank[rank] == node)
      ranks.push_back({rank, plan.ranges_of_rank[rank]});
  return ranks;
}

bool SameRanges(const std::vector<Range>& a, const std::vector<Range>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Range& x, const Range& y) {
    return x.begin == y.begin && x.end == y.end;
  });
}

// Writes one dataset block by block and returns the blocks' checksums.
std::vector<uint32_t> WriteBlocks(WritableFile& file, const std::vector<float>& data,
                                  uint64_t offset) {
  std::vector<uint32_t> crcs;
  const char* bytes = reinterpret_cast<const char*>(data.data());
  const uint64_t total = data.size() * sizeof(float);
  for (uint64_t at = 0; at < total; at += kBlockBytes) {
    const uint64_t size = std::min(kBlockBytes, total - at);
    crcs.push_back(Crc32c(0, bytes + at, size));
    file.PWrite(bytes + at, size, offset + at);
  }
  return crcs;
}

RankReport WriteRank(FileSystem& fs, const SavePlan& plan, const Snapshot& snapshot) {
  const int rank = plan.topology.rank;
  const int node = plan.topology.node_of_rank[rank];
  const std::vector<RankRanges> ranks = RanksOfNode(plan, node);
  const auto me = std::find_if(ranks.begin(), ranks.end(),
                               [rank](const RankRanges& part) { return part.rank == rank; });
  const int kinds = KindsOf(plan.weights_only);
  const Skeleton skeleton = MakeSkeleton(plan.state.step, node, ranks, kinds);
  const auto& offsets = skeleton.offsets[me - ranks.begin()];

  const std::string dir =
      plan.checkpoints_dir + "/" + TemporaryName(plan.state.step, plan.state.attempt, plan.retry);
  fs.MakeDirs(dir);
  const auto file = fs.Open(dir + "/" + ShardName(node), FileSystem::Mode::kShared);
  if (me == ranks.begin())
    for (const SkeletonPiece& piece : skeleton.pieces)
      file->PWrite(piece.bytes.data(), piece.bytes.size(), piece.offset);
  RankPart part{rank, snapshot.ranges, offsets, {}};
  for (int kind = 0; kind < kinds; ++kind)
    part.block_crcs[kind] = WriteBlocks(*file, snapshot.data[kind], offsets[kind]);
  file->Sync();
  file->Close();
  fs.SyncDir(dir);
  return {plan.state.step, plan.state.attempt, node,           skeleton.file_bytes,
          skeleton.crc,    plan.weights_only,  std::move(part)};
}

}  // namespace

struct SaveJob::Impl {
  Impl(FileSystem& file_system, SavePlan save_plan, Snapshot save_snapshot)
      : fs(file_system), plan(std::move(save_plan)), snapshot(std::move(save_snapshot)) {
    const Topology& topology = plan.topology;
    CONTRAIL_ASSERT(topology.rank >= 0 && topology.rank < topology.size);
    CONTRAIL_ASSERT(topology.node_of_rank.size() == static_cast<size_t>(topology.size));
    CONTRAIL_ASSERT(plan.ranges_of_rank.size() == static_cast<size_t>(topology.size));
    CONTRAIL_ASSERT(SameRanges(snapshot.ranges, plan.ranges_of_rank[topology.rank]));
    for (int kind = 0; kind < kNumKinds; ++kind) {
      const size_t elements = snapshot.data[kind].size();
      CONTRAIL_ASSERT(elements ==
                      (kind < KindsOf(plan.weights_only) ? NumElements(snapshot.ranges) : 0));
      bytes += elements * sizeof(float);
    }
    thread = std::thread([this] { Run(); });
  }

  ~Impl() {
    if (thread.joinable()) thread.join();
  }

  void Run() {
    const auto start = std::chrono::steady_clock::now();
    try {
      report = EncodeReport(WriteRank(fs, plan, snapshot));
    } catch (...) {
      error = std::current_exception();
    }
    snapshot = {};  // the memory is wanted before the job object goes
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    failed.store(error != nullptr);
    finished.store(true);
  }

  FileSystem& fs;
  const SavePlan plan;
  Snapshot snapshot;
  uint64_t bytes = 0;
  // Written by the thread before `finished`, read after it.
  std::string report;
  std::exception_ptr error;
  double seconds = 0;
  std::atomic<bool> failed{false};
  std::atomic<bool> finished{false};
  std::thread thread;
};

SaveJob::SaveJob(FileSystem& fs, SavePlan plan, Snapshot snapshot)
    : impl_(std::make_unique<Impl>(fs, std::move(plan), std::move(snapshot))) {}

SaveJob::~SaveJob() = default;

bool SaveJob::finished() const { return impl_->finished.load(); }

bool SaveJob::failed() const { return impl_->failed.load(); }

std::string SaveJob::Report() {
  if (impl_->thread.joinable()) impl_->thread.join();
  if (impl_->error) std::rethrow_exception(impl_->error);
  return impl_->report;
}

const SavePlan& SaveJob::plan() const { return impl_->plan; }

uint64_t SaveJob::bytes() const { return impl_->bytes; }

double SaveJob::write_seconds() const { return impl_->finished.load() ? impl_->seconds : 0; }

}  // namespace contrail::ckpt
