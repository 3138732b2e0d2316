#include "launcher/lease.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <climits>
#include <csignal>
#include <utility>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"

namespace contrail::launcher {

std::string HostName() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

std::string LeaseHolder(const monitor::Lease& lease, const std::string& host, double now) {
  if (lease.state == "released" || lease.host == host) return "";
  const double age = now - lease.time;
  if (age > kLeaseSeconds) return "";
  return "a launcher on " + lease.host + " (pid " + std::to_string(lease.pid) + ") was alive " +
         HumanSeconds(age < 0 ? 0 : age) + " ago";
}

RunLock::RunLock(const monitor::RunDir& run) {
  fd_ = open(run.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) throw EnvironmentError("E-IO", run.root, "open: " + ErrnoText(errno));
  const auto lease = monitor::ReadLease(run);
  // File systems without locks say so with other errors: there the lease alone has to do.
  const bool locked = flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  std::string holder = lease ? LeaseHolder(*lease, HostName(), SystemClock().Now()) : "";
  if (locked) {
    holder = "a launcher on this host" +
             (lease ? " (pid " + std::to_string(lease->pid) + ")" : std::string()) + " is at work";
  }
  if (holder.empty()) return;
  close(fd_);
  fd_ = -1;
  throw UserError("E-RUN-BUSY", run.root, holder,
                  "wait for it to end, or stop it (Ctrl-C or SIGTERM saves a checkpoint first)");
}

RunLock::~RunLock() {
  if (fd_ >= 0) close(fd_);
}

RunLock& RunLock::operator=(RunLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

LeaseKeeper::LeaseKeeper(const monitor::RunDir& run, monitor::Lease lease)
    : run_(run), lease_(std::move(lease)) {
  lease_.time = SystemClock().Now();
  monitor::WriteLease(run_, lease_);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LeaseKeeper::~LeaseKeeper() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
    lease_.state = "released";
  }
  wake_.notify_one();
  thread_.join();
}

void LeaseKeeper::Set(int attempt, const std::string& state) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    lease_.attempt = attempt;
    lease_.state = state;
  }
  Renew();
}

void LeaseKeeper::Run() {
  for (bool ending = false; !ending;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait_for(lock, std::chrono::duration<double>(kLeaseRenewal),
                     [this] { return ending_; });
      ending = ending_;
    }
    Renew();
  }
}

void LeaseKeeper::Renew() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (lost_) return;
  try {
    const auto found = monitor::ReadLease(run_);
    if (found && found->attempt > lease_.attempt &&
        (found->host != lease_.host || found->pid != lease_.pid)) {
      lost_ = true;
      return;
    }
    lease_.time = SystemClock().Now();
    monitor::WriteLease(run_, lease_);
    warned_ = false;
  } catch (const Error& error) {
    if (!std::exchange(warned_, true)) {
      LogWarning(std::string("the lease could not be renewed: ") + error.what());
    }
  }
}

}  // namespace contrail::launcher
