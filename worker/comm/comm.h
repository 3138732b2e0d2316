#pragma once
// Collectives as the trainer sees them: in place where MPI can, every one numbered and noted in the
// progress word so that the lagging rank and operation can be named.
//
// Two implementations: MPI (a c10d::Backend of our own underneath) and single process. Tensors are
// contiguous CPU tensors of fp32, fp64, bf16, fp16, int32, int64 or uint8; every rank passes the
// same number of elements and issues the same collectives in the same order, from one thread.
//
// Sums are formed element by element in an order that only the number of ranks decides, so all
// ranks and all runs with as many ranks agree bit for bit. Up to 64 ranks it is the rank order;
// above, a fixed tree (mpi_halving.h), which rounds otherwise: 64 and 65 ranks differ as any two
// numbers of ranks do. 16-bit types are summed in fp32 in that order and rounded once at the end.
//
// Blocking calls run at once. Those that start something return at once; a thread carries them out
// in the order of issue. A blocking call may overtake what was started before it: Wait() before
// touching a started collective's tensors, inputs included.
//
// Errors: EnvironmentError E-MPI-INIT, E-MPI-THREADS (start), E-MPI-COLLECTIVE (names operation,
// sequence number and rank), E-MPI-TIMEOUT (other ranks did not come, or stopped midway; names
// those that have not arrived). A started collective's error is thrown by its Wait().

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "worker/comm/ledger.h"

namespace contrail::worker {

// A started collective. Dropping it does not cancel anything.
class Pending {
 public:
  class Work {
   public:
    virtual ~Work() = default;
    virtual void Wait() = 0;  // asleep
    virtual bool done() = 0;
  };
  Pending() = default;  // nothing to wait for
  explicit Pending(std::shared_ptr<Work> work) : work_(std::move(work)) {}
  // Returns when the result is there; throws the collective's error. Once is enough.
  void Wait() {
    if (work_) std::exchange(work_, nullptr)->Wait();
  }
  bool done() const { return !work_ || work_->done(); }

 private:
  std::shared_ptr<Work> work_;
};

// How values to be summed travel.
enum class Wire {
  kAsStored,
  // fp32 tensors only: every rank's values are rounded to bf16, their sum is fp32. Among more than
  // 64 ranks the first half of the way is in bf16, what was summed on it travels as fp32.
  kBFloat16,
};

// E-MPI-TIMEOUT.
class TimeoutError : public Error {
 public:
  TimeoutError(std::string_view where, std::string_view what, std::string_view fix,
               std::vector<int> missing)
      : Error(ErrorKind::kEnvironment, "E-MPI-TIMEOUT", where, what, fix),
        missing_(std::move(missing)) {}
  const std::vector<int>& missing() const { return missing_; }  // ranks that have not arrived

 private:
  std::vector<int> missing_;
};

class Comm {
 public:
  virtual ~Comm() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int local_rank() const = 0;  // among the ranks of this node
  // Node index of every rank, consecutive from 0 in order of first appearance.
  virtual const std::vector<int>& node_of_rank() const = 0;

  virtual void AllReduceSum(at::Tensor tensor) = 0;  // in place
  // in = size * out; out may be in's own slice [rank * n, (rank + 1) * n)
  virtual void ReduceScatterSum(at::Tensor out, const at::Tensor& in) = 0;
  virtual void AllGather(at::Tensor out, const at::Tensor& in) = 0;  // out = size * in; in may be
                                                                     // out's own slice
  virtual void Broadcast(at::Tensor tensor, int root) = 0;
  virtual void Barrier() = 0;

  virtual Pending StartAllReduceSum(at::Tensor tensor) = 0;
  virtual Pending StartReduceScatterSum(at::Tensor out, const at::Tensor& in,
                                        Wire wire = Wire::kAsStored) = 0;
  virtual Pending StartAllGather(at::Tensor out, const at::Tensor& in) = 0;

  // Seconds that a collective may wait for other ranks before it fails; 0 = for ever (at first).
  virtual void SetTimeout(double /*seconds*/) {}

  // Numbers, times and what is unfinished.
  virtual Ledger& ledger() = 0;
  uint64_t sequence() { return ledger().standing().entered; }

  // Text of every rank, rank order, on every rank. Counts as two collectives.
  std::vector<std::string> AllGatherText(const std::string& text);
  std::string BroadcastText(const std::string& text, int root);
};

std::unique_ptr<Comm> MakeSingleComm();
// Up to so many ranks exchange slices directly, N - 1 messages from each and as many connections;
// more sum and gather in ceil(log2 N) stages.
inline constexpr int kDirectRanks = 64;
// Calls MPI_Init_thread(MULTIPLE) on first use. Finalize with ShutdownMpi() when it is gone. Only
// tests give another number, to have the stages with few ranks.
std::unique_ptr<Comm> MakeMpiComm(int direct_ranks = kDirectRanks);
// True where this process was started by mpirun/srun with an MPI environment.
bool StartedByMpi();
void ShutdownMpi();
[[noreturn]] void AbortMpi(int code);  // MPI_Abort where MPI is up, else _exit

}  // namespace contrail::worker
