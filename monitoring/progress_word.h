#pragma once
// The progress board: shared memory of one attempt on one node. Each rank has a progress word of
// 128 bytes, written by the worker and read by whoever watches it on the same node (launcher or
// node agent) in plain atomic stores without a system call, and a slot for its last words.
//
// The board is a file in /dev/shm whose name ends in the attempt's owner token (common/token.h), so
// nobody can guess it. The launcher makes it, all of its node map it, the launcher unlinks it when
// the attempt ends. On other nodes the first worker makes it, and the first rank of the node
// unlinks it as soon as all have mapped it: a mapping outlives its name. Whoever opens one checks
// that it is this user's, that nobody else may write it, and that it holds the same token.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace contrail::monitor {

enum class Phase : uint32_t {
  kAbsent = 0,  // the rank has not mapped its word yet
  kStarting,    // MPI, config, data index, checkpoint load
  kTraining,    // steps
  kSaving,      // waiting for a checkpoint at the end or on request
  kDone,        // trained and saved; on its way out
  kFailed,      // has said its last words; on its way out
};
const char* PhaseName(Phase phase);

// What the rank's main thread is doing: how long it may show no progress depends on it.
enum class Activity : uint32_t {
  kStarting = 0,
  kIndexing,    // shards of the data set
  kReading,     // a checkpoint
  kComputing,   // other ranks may be finishing a collective of ours meanwhile
  kExchanging,  // in a collective, asleep
  kData,        // waiting for a batch
  kSaving,
  kEvaluating,
  kEnding,
};
const char* ActivityText(Activity activity);  // "waiting for data"

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
  std::atomic<double> time;               // CLOCK_MONOTONIC of the last progress
  std::atomic<double> loss;
  std::atomic<double> samples_per_second;  // of the whole job
  std::atomic<uint64_t> committed_step;    // last committed checkpoint
  std::atomic<uint64_t> total_steps;
  std::atomic<int32_t> rank;
  std::atomic<uint32_t> operation;      // Operation: the oldest unfinished collective's
  std::atomic<uint32_t> activity;       // Activity
  std::atomic<uint32_t> blocked;        // 1 while the main thread is inside a collective
  std::atomic<uint64_t> work;           // bytes, samples, blocks done: only ever grows
  std::atomic<uint64_t> pid_namespace;  // inode of /proc/self/ns/pid: where `pid` means something
};
static_assert(sizeof(ProgressWord) == 128);

class ProgressBoard {
 public:
  static constexpr int kMaxWords = 1024;
  static constexpr size_t kLastWordsBytes = 2032;

  enum class Maker : uint32_t { kLauncher = 1, kWorker = 2 };

  // A new board, whole from the moment its name appears. nullptr where the name is taken. Throws
  // EnvironmentError E-PROGRESS.
  static std::unique_ptr<ProgressBoard> Make(const std::string& path, int words, Maker maker);
  // The board of that name, checked: a file of this user that nobody else can write, of this
  // layout, with the token that the name ends in and at least `words` words. nullptr where there is
  // none. Throws EnvironmentError E-PROGRESS.
  static std::unique_ptr<ProgressBoard> Open(const std::string& path, int words);
  // A worker's way: opens the launcher's board or another worker's, or makes one.
  static std::unique_ptr<ProgressBoard> OpenOrMake(const std::string& path, int words);
  // Of this process alone.
  static std::unique_ptr<ProgressBoard> Private();
  ~ProgressBoard();
  ProgressBoard(const ProgressBoard&) = delete;
  ProgressBoard& operator=(const ProgressBoard&) = delete;

  int words() const;
  Maker maker() const;
  ProgressWord& word(int index);  // index in [0, words())
  const ProgressWord& word(int index) const;

  // Last words of the rank with this word; readers see all of a text or none of it. Text past
  // kLastWordsBytes is cut off.
  void Say(int index, std::string_view text);
  std::optional<std::string> LastWords(int index) const;

 private:
  struct Header;
  struct Slot;
  ProgressBoard(void* memory, size_t size) : memory_(memory), size_(size) {}
  static size_t BytesFor(int words);
  static std::unique_ptr<ProgressBoard> MapFile(int fd, size_t size, const std::string& path);
  Header& header() const;
  Slot& slot(int index) const;

  void* memory_;
  size_t size_;
};

}  // namespace contrail::monitor
