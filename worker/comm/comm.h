#pragma once
// Collectives as the trainer sees them: blocking, in place where MPI can, every one numbered and
// noted in the progress word so that the lagging rank and operation can be named.
//
// Two implementations: MPI (a c10d::Backend of our own underneath) and single process.

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
  virtual int local_rank() const = 0;               // among the ranks of this node
  virtual const std::vector<int>& node_of_rank() const = 0;

  virtual void AllReduceSum(at::Tensor tensor) = 0;                      // in place
  virtual void ReduceScatterSum(at::Tensor out, const at::Tensor& in) = 0;  // in = size * out
  virtual void AllGather(at::Tensor out, const at::Tensor& in) = 0;      // out = size * in; in may be out's own slice
  virtual void Broadcast(at::Tensor tensor, int root) = 0;
  virtual void Barrier() = 0;

  // Text of every rank, rank order, on every rank.
  std::vector<std::string> AllGatherText(const std::string& text);
  std::string BroadcastText(const std::string& text, int root);

  // Called on entering and leaving each collective with its sequence number and name.
  using Observer = std::function<void(uint64_t sequence, const char* name, bool entering)>;
  void SetObserver(Observer observer) { observer_ = std::move(observer); }
  uint64_t sequence() const { return sequence_; }

 protected:
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
