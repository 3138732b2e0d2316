#include "checkpoint/save.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <system_error>

#include "checkpoint/format.h"
#include "checkpoint/payload.h"
#include "checkpoint/skeleton.h"
#include "common/error.h"

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

RankReport WriteRank(FileSystem& fs, const SavePlan& plan, const Snapshot& snapshot,
                     WriteProgress& progress) {
  const int rank = plan.topology.rank;
  const int node = plan.topology.node_of_rank[rank];
  const std::vector<RankRanges> ranks = RanksOfNode(plan, node);
  const auto me = std::find_if(ranks.begin(), ranks.end(),
                               [rank](const RankRanges& part) { return part.rank == rank; });
  const int kinds = KindsOf(plan.weights_only);
  const Skeleton skeleton = MakeSkeleton(plan.state.step, node, ranks, kinds);
  const size_t place = static_cast<size_t>(me - ranks.begin());

  const std::string dir = TemporaryDir(plan);
  const std::string path = dir + "/" + ShardName(node);
  LeaveIfAbandoned(progress, path);
  fs.MakeDirs(dir);
  const auto file = fs.Open(path, FileSystem::Mode::kShared);
  file->Reserve(skeleton.file_bytes);
  if (me == ranks.begin())
    for (const SkeletonPiece& piece : skeleton.pieces)
      file->PWrite(piece.bytes.data(), piece.bytes.size(), piece.offset);
  std::vector<Payload> datasets;
  for (int kind = 0; kind < kinds; ++kind) {
    const Pages& data = snapshot.data[kind];
    datasets.push_back({reinterpret_cast<const char*>(data.data()),
                        data.size() * sizeof(float),
                        skeleton.offsets[place][kind],
                        {},
                        {}});
  }
  WritePayload(*file, path, datasets, progress);

  RankReport report{plan.state.step, plan.state.attempt, node, skeleton.file_bytes, skeleton.crc};
  report.weights_only = plan.weights_only;
  report.part = {
      rank, snapshot.ranges, skeleton.offsets[place], {}, skeleton.page_crcs_offsets[place]};
  std::vector<uint32_t> page_crcs;
  for (int kind = 0; kind < kinds; ++kind) {
    page_crcs.insert(page_crcs.end(), datasets[kind].page_crcs.begin(),
                     datasets[kind].page_crcs.end());
    report.part.block_crcs[kind] = std::move(datasets[kind].block_crcs);
  }
  if (!page_crcs.empty()) {
    file->PWrite(page_crcs.data(), page_crcs.size() * sizeof(uint32_t),
                 report.part.page_crcs_offset);
    report.page_crcs_change = skeleton.ChangeOf(place, page_crcs);
  }
  LeaveIfAbandoned(progress, path);
  file->Sync();
  file->Close();
  fs.SyncDir(dir);
  return report;
}

void CheckSnapshot(const SavePlan& plan, const Snapshot& snapshot) {
  const Topology& topology = plan.topology;
  CONTRAIL_ASSERT(topology.rank >= 0 && topology.rank < topology.size);
  CONTRAIL_ASSERT(topology.node_of_rank.size() == static_cast<size_t>(topology.size));
  CONTRAIL_ASSERT(plan.ranges_of_rank.size() == static_cast<size_t>(topology.size));
  CONTRAIL_ASSERT(SameRanges(snapshot.ranges, plan.ranges_of_rank[topology.rank]));
  for (int kind = 0; kind < kNumKinds; ++kind) {
    CONTRAIL_ASSERT(snapshot.data[kind].size() ==
                    (kind < KindsOf(plan.weights_only) ? NumElements(snapshot.ranges) : 0));
  }
}

}  // namespace

struct SaveJob::State {
  State(FileSystem& file_system, SavePlan save_plan, std::shared_ptr<const Snapshot> save_snapshot)
      : fs(file_system), plan(std::move(save_plan)), snapshot(std::move(save_snapshot)) {
    CheckSnapshot(plan, *snapshot);
    for (const auto& data : snapshot->data) bytes += data.size() * sizeof(float);
  }

  void Run() {
    const auto start = std::chrono::steady_clock::now();
    try {
      report = EncodeReport(WriteRank(fs, plan, *snapshot, progress));
    } catch (...) {
      error = std::current_exception();
    }
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    End();
  }

  void End() {
    snapshot.reset();  // the memory is wanted before the job object goes
    failed.store(error != nullptr);
    finished.store(true);
  }

  FileSystem& fs;
  const SavePlan plan;
  std::shared_ptr<const Snapshot> snapshot;  // the thread's, once it runs
  uint64_t bytes = 0;
  WriteProgress progress;
  // Written by the thread before `finished`, read after it.
  std::string report;
  std::exception_ptr error;
  double seconds = 0;
  std::atomic<bool> failed{false};
  std::atomic<bool> finished{false};
};

SaveJob::SaveJob(FileSystem& fs, SavePlan plan, std::shared_ptr<const Snapshot> snapshot)
    : state_(std::make_shared<State>(fs, std::move(plan), std::move(snapshot))) {
  try {
    thread_ = std::thread([state = state_] { state->Run(); });
  } catch (const std::system_error& error) {
    // No more threads: this save has failed, as one that finds no space.
    state_->error = std::make_exception_ptr(IoError(
        error.code().value(), state_->plan.checkpoints_dir, "could not start a thread to save"));
    state_->End();
  }
}

SaveJob::SaveJob(FileSystem& fs, SavePlan plan, Snapshot snapshot)
    : SaveJob(fs, std::move(plan), std::make_shared<const Snapshot>(std::move(snapshot))) {}

SaveJob::~SaveJob() {
  if (thread_.joinable()) thread_.join();
}

bool SaveJob::finished() const { return state_->finished.load(); }

bool SaveJob::failed() const { return state_->failed.load(); }

std::string SaveJob::Report() {
  CONTRAIL_ASSERT(!state_->progress.abandoned.load());
  if (thread_.joinable()) thread_.join();
  if (state_->error) std::rethrow_exception(state_->error);
  return state_->report;
}

const SavePlan& SaveJob::plan() const { return state_->plan; }

uint64_t SaveJob::bytes() const { return state_->bytes; }

uint64_t SaveJob::bytes_written() const { return state_->progress.bytes_written.load(); }

double SaveJob::write_seconds() const { return finished() ? state_->seconds : 0; }

void SaveJob::Abandon() {
  state_->progress.abandoned.store(true);
  if (thread_.joinable()) thread_.detach();
}

}  // namespace contrail::ckpt
