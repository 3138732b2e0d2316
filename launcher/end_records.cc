#include "launcher/end_records.h"

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "common/error.h"

namespace contrail::launcher {

struct EndRecordReader::Shared {
  monitor::RunDir run;
  int attempt = 0;
  mutable std::mutex mutex;
  std::condition_variable stop;
  bool stopping = false;
  bool looked = false;
  std::vector<int> wanted;
  std::map<int, monitor::EndRecord> found;

  // On the thread. Records of other nodes take a moment to show up in a shared file system.
  void Run() {
    std::unique_lock lock(mutex);
    while (!stopping && !wanted.empty()) {
      lock.unlock();
      std::map<int, monitor::EndRecord> records;
      try {
        records = monitor::ReadEndRecords(run, attempt);
      } catch (const Error&) {
        // Cannot be read for now, which is no word about the ranks.
      }
      lock.lock();
      std::erase_if(wanted, [&](int rank) {
        const auto record = records.find(rank);
        if (record != records.end()) found.insert(*record);
        return record != records.end();
      });
      looked = true;
      stop.wait_for(lock, std::chrono::milliseconds(100), [this] { return stopping; });
    }
    looked = true;
  }
};

EndRecordReader::EndRecordReader(const monitor::RunDir& run, int attempt, std::vector<int> ranks)
    : shared_(std::make_shared<Shared>()) {
  shared_->run = run;
  shared_->attempt = attempt;
  shared_->wanted = std::move(ranks);
  // Signals belong to the thread that watches.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread([shared = shared_] { shared->Run(); }).detach();
  } catch (const std::system_error&) {
    shared_->looked = true;  // no thread to be had: what is in shared memory must do
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

EndRecordReader::~EndRecordReader() {
  const std::lock_guard lock(shared_->mutex);
  shared_->stopping = true;
  shared_->stop.notify_all();
}

std::map<int, monitor::EndRecord> EndRecordReader::Found() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->found;
}

bool EndRecordReader::LookedOnce() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->looked;
}

}  // namespace contrail::launcher
