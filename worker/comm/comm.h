#pragma once
// Collectives as the trainer sees them: blocking, in place where MPI can, every one numbered and
// noted in the progress word so that the lagging rank and operation can be named.
//
// Two implementations: MPI (a c10d::Backend of our own underneath) and single process. Tensors are
// contiguous CPU tensors of fp32, fp64, int32, int64 or uint8; every rank passes the same number of
// elements and calls the same collectives in the same order. Sums are formed in rank order, element
// by element, so all ranks and all runs with as many ranks agree bit for bit.
//
// Errors: EnvironmentError E-MPI-INIT, E-MPI-THREADS (start), E-MPI-COLLECTIVE (names operation,
// sequence number and rank).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace contrail::worker {

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

  // Totals so far: waiting for the last rank to arrive at a collective, and moving data once all
  // are there. The rank that waits least is the straggler.
  virtual double waiting_seconds() const { return 0; }
  virtual double moving_seconds() const { return 0; }

  // Text of every rank, rank order, on every rank. Counts as two collectives.
  std::vector<std::string> AllGatherText(const std::string& text);
  std::string BroadcastText(const std::string& text, int root);

  // Called on entering and leaving each collective with its sequence number and name. Numbers
  // start at 1 and are equal on all ranks for the same collective.
  using Observer = std::function<void(uint64_t sequence, const char* name, bool entering)>;
  void SetObserver(Observer observer) { observer_ = std::move(observer); }
  uint64_t sequence() const { return sequence_; }

 protected:
  // Numbers one collective and tells the observer; lives while the collective runs.
  class Noted {
   public:
    Noted(Comm& comm, const char* name) : comm_(comm), name_(name) {
      ++comm_.sequence_;
      if (comm_.observer_) comm_.observer_(comm_.sequence_, name_, true);
    }
    ~Noted() {
      if (comm_.observer_) comm_.observer_(comm_.sequence_, name_, false);
    }
    Noted(const Noted&) = delete;
    Noted& operator=(const Noted&) = delete;

   private:
    Comm& comm_;
    const char* name_;
  };

  Observer observer_;
  uint64_t sequence_ = 0;
};

std::unique_ptr<Comm> MakeSingleComm();
// Calls MPI_Init_thread(MULTIPLE) on first use. Finalize with ShutdownMpi().
std::unique_ptr<Comm> MakeMpiComm();
// True where this process was started by mpirun/srun with an MPI environment.
bool StartedByMpi();
void ShutdownMpi();
[[noreturn]] void AbortMpi(int code);  // MPI_Abort where MPI is up, else _exit

}  // namespace contrail::worker
