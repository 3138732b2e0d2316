#include "worker/comm/mpi_queue.h"

#include <c10/core/InferenceMode.h>
#include <pthread.h>

#include <chrono>

namespace contrail::worker {
namespace {

constexpr std::chrono::milliseconds kLook(200);  // between looks for roll calls
constexpr double kLookSeconds = 0.2;

}  // namespace

class MpiQueue::QueuedWork final : public c10d::Work {
 public:
  QueuedWork(int rank, c10d::OpType type, uint64_t sequence)
      : c10d::Work(rank, type), sequence_(sequence) {}
  void Finish(std::exception_ptr error) { finish(std::move(error)); }
  uint64_t getSequencenumber() const override { return sequence_; }

 private:
  uint64_t sequence_;
};

MpiQueue::MpiQueue(MPI_Comm comm, MpiLimits limits, Ledger& ledger, RollCall& roll)
    : ledger_(ledger), roll_(roll), lane_(comm, limits, ledger, roll) {
  MPI_Comm_rank(comm, &rank_);
  lane_.set_meanwhile([this] {
    const double now = MPI_Wtime();
    if (now - served_ < kLookSeconds) return;
    served_ = now;
    roll_.Serve();
  });
  thread_ = std::thread([this] { Loop(); });
}

MpiQueue::~MpiQueue() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

c10::intrusive_ptr<c10d::Work> MpiQueue::Start(Collective collective, c10d::OpType type,
                                               double timeout) {
  auto work = c10::make_intrusive<QueuedWork>(rank_, type, collective.sequence);
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({std::move(collective), timeout, work});
  }
  wake_.notify_one();
  return work;
}

void MpiQueue::Loop() {
  pthread_setname_np(pthread_self(), "collectives");
  const c10::InferenceMode no_autograd;
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      const bool awake = wake_.wait_for(lock, kLook, [&] { return closing_ || !jobs_.empty(); });
      if (jobs_.empty() && closing_) return;
      if (awake) {
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
    }
    if (job.work) {
      Do(job);
    } else {
      roll_.Serve();
    }
  }
}

void MpiQueue::Do(Job& job) {
  if (!broken_) {
    try {
      lane_.Run(job.collective, job.timeout);
    } catch (...) {
      broken_ = std::current_exception();
    }
  } else {
    ledger_.Leave(job.collective.sequence, 0, 0);
  }
  job.collective = {};  // whoever waits may count on being the tensors' only owner
  job.work->Finish(broken_);
}

}  // namespace contrail::worker
