#pragma once
// The progress word: 128 bytes of shared memory a rank, written by the worker, read by whoever
// watches it on the same node (launcher or node agent). Plain atomic stores, no system call.
//
// The board is one file in /dev/shm named by the launcher; whoever comes first creates it, all
// map it, the launcher unlinks it when the attempt ends.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace contrail::monitor {

enum class Phase : uint32_t {
  kAbsent = 0,  // the rank has not mapped its word yet
  kStarting,    // MPI, config, data index, checkpoint load
  kTraining,    // steps
  kSaving,      // waiting for a checkpoint at the end or on request
  kDone,
  kFailed,
};
const char* PhaseName(Phase phase);

// What ranks do together; every collective has one sequence number on all of them.
enum class Operation : uint32_t {
  kNone = 0,
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kBarrier,
};
const char* OperationName(Operation operation);  // "reduce_scatter"; "" for none

struct alignas(128) ProgressWord {
  std::atomic<uint32_t> phase;  // Phase
  std::atomic<int32_t> pid;
  std::atomic<uint64_t> step;  // last finished step (0 = none in this run)
  // Collectives run in the background too: entered = issued, and `collective_done + 1` is the
  // oldest unfinished one wherever it is not above `collective`.
  std::atomic<uint64_t> collective;       // sequence number of the last collective *entered*
  std::atomic<uint64_t> collective_done;  // all up to this one are finished
  std::atomic<double> time;               // CLOCK_MONOTONIC of the last change
  std::atomic<double> loss;
  std::atomic<double> samples_per_second;  // of the whole job
  std::atomic<uint64_t> committed_step;    // last committed checkpoint
  std::atomic<uint64_t> total_steps;
  std::atomic<int32_t> rank;        // -1 until mapped
  std::atomic<uint32_t> operation;  // Operation: the oldest unfinished collective's
};
static_assert(sizeof(ProgressWord) == 128);

class ProgressBoard {
 public:
  static constexpr int kMaxLocalRanks = 1024;
  // Maps (creating if needed) the board file. Throws EnvironmentError E-PROGRESS.
  static std::unique_ptr<ProgressBoard> Map(const std::string& path);
  ~ProgressBoard();
  ProgressWord& word(int local_rank);  // local_rank in [0, kMaxLocalRanks)
  const ProgressWord& word(int local_rank) const;

 private:
  ProgressBoard(void* memory, size_t size) : memory_(memory), size_(size) {}
  void* memory_;
  size_t size_;
};

}  // namespace contrail::monitor
