#include "launcher/take_over.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <utility>

#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "launcher/claim.h"

namespace contrail::launcher {
namespace {

constexpr double kLookSeconds = 0.5;

Error Busy(const monitor::RunDir& run, const std::string& holder) {
  return UserError("E-RUN-BUSY", run.root, holder,
                   "wait for it to end, or stop it (Ctrl-C or SIGTERM saves a checkpoint first)");
}

std::string Describe(const monitor::Lease& lease) {
  return "a launcher on " + (lease.host.empty() ? "an unknown host" : lease.host) + " (pid " +
         std::to_string(lease.pid) + ")";
}

void Sleep(const Waiting& waiting, double seconds) {
  if (waiting.sleep) return waiting.sleep(seconds);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

// What of a lease changes when its holder does anything.
std::string Mark(const std::optional<monitor::Lease>& lease) {
  if (!lease) return "none";
  return lease->owner + " " + lease->host + " " + std::to_string(lease->pid) + " " +
         std::to_string(lease->attempt) + " " + lease->state + " " +
         std::to_string(lease->renewals) + " " + ExactDouble(lease->time);
}

// Who may have the run, as of one look.
struct Standing {
  std::optional<monitor::Lease> lease;
  std::optional<monitor::Lease> holder;  // to be watched; nothing: the run is free
  int last_attempt = 0;
  std::string mark;  // changes when anybody does anything
};

// Somebody claimed an attempt and has not written a lease yet. Attempts of a bare mpirun have no
// owner but leave other files.
std::optional<monitor::Lease> Between(const FileSystem& fs, const monitor::RunDir& run,
                                      const Standing& standing) {
  if (standing.lease && standing.lease->attempt >= standing.last_attempt) return std::nullopt;
  if (fs.KindOf(run.Attempt(standing.last_attempt)) != EntryKind::kDirectory) return std::nullopt;
  monitor::Lease claimant = ClaimantOf(fs, run, standing.last_attempt);
  if (claimant.owner.empty() && !fs.List(run.Attempt(standing.last_attempt)).empty()) {
    return std::nullopt;
  }
  if (standing.lease && claimant.owner == standing.lease->owner) return std::nullopt;
  if (claimant.owner == OwnerToken()) return std::nullopt;  // our own try, whose lease failed
  return claimant;
}

// `lock_tells`: launchers of this host are judged by the lock, which we have.
Standing Look(const FileSystem& fs, const monitor::RunDir& run, const std::string& host,
              bool lock_tells) {
  Standing standing;
  standing.lease = monitor::ReadLease(run, fs);
  standing.last_attempt = LastAttempt(fs, run);
  const auto between = Between(fs, run, standing);
  const auto counts = [&](const std::optional<monitor::Lease>& lease) {
    return lease && lease->state != "released" && !(lock_tells && lease->host == host);
  };
  standing.holder = counts(between)          ? between
                    : counts(standing.lease) ? standing.lease
                                             : std::nullopt;
  standing.mark =
      Mark(standing.lease) + "\n" + std::to_string(standing.last_attempt) + " " + Mark(between);
  return standing;
}

// Looks until the run is free, and returns how it stands.
class Watcher {
 public:
  Watcher(const FileSystem& fs, const monitor::RunDir& run, const Waiting& waiting)
      : fs_(fs), run_(run), waiting_(waiting), begin_(waiting.clock.Monotonic()) {}

  Standing UntilFree(const std::string& host, bool lock_tells) {
    for (;; Sleep(waiting_, kLookSeconds)) {
      Standing now;
      try {
        now = launcher::Look(fs_, run_, host, lock_tells);
      } catch (const Error&) {
        // What cannot be read does not say that the run is free.
        if (waiting_.clock.Monotonic() - begin_ > kWatchSeconds) throw;
        continue;
      }
      if (!now.holder) return now;
      if (!watched_) {
        watched_ = now;
        begin_ = waiting_.clock.Monotonic();
        LogInfo("contrail: watching " + Describe(*now.holder) +
                ", which has the run as of attempt " + std::to_string(now.holder->attempt) +
                ": if nothing of it changes within " + HumanSeconds(kWatchSeconds) +
                ", the run is taken over");
      } else if (now.mark != watched_->mark) {
        throw Busy(run_, Describe(*now.holder) + " is at work");
      } else if (waiting_.clock.Monotonic() - begin_ >= kWatchSeconds) {
        return now;
      }
    }
  }

 private:
  const FileSystem& fs_;
  const monitor::RunDir& run_;
  const Waiting& waiting_;
  double begin_;
  std::optional<Standing> watched_;
};

}  // namespace

RunLock::RunLock(const monitor::RunDir& run) {
  fd_ = open(run.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) throw IoError(errno, run.root, "could not open");
  tells_ = flock(fd_, LOCK_EX | LOCK_NB) == 0;
  if (tells_ || errno != EWOULDBLOCK) return;
  close(fd_);
  fd_ = -1;
  throw Busy(run, "a launcher on this host is at work");
}

RunLock::~RunLock() {
  if (fd_ >= 0) close(fd_);
}

RunLock& RunLock::operator=(RunLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(tells_, other.tells_);
  return *this;
}

RunClaim TakeRun(FileSystem& fs, const monitor::RunDir& run, RunLock lock, monitor::Lease self,
                 const Waiting& waiting) {
  Watcher watcher(fs, run, waiting);
  bool lock_tells = lock.tells();
  for (;;) {
    const Standing standing = watcher.UntilFree(self.host, lock_tells);
    self.attempt = standing.last_attempt + 1;
    if (!ClaimAttempt(fs, run, self.attempt, self)) {
      // Somebody else came just now, on whatever host: watched like every other.
      lock_tells = false;
      continue;
    }
    // The one who was taken for dead may have come back while we claimed.
    if (const auto lease = monitor::ReadLease(run, fs); Mark(lease) != Mark(standing.lease)) {
      throw Busy(run, lease ? Describe(*lease) + " is at work" : "its lease was taken away");
    }
    monitor::WriteLease(run, self, fs);
    // Of two that write at the same time the last one has it.
    if (const auto lease = monitor::ReadLease(run, fs); !lease || lease->owner != self.owner) {
      throw Busy(run, lease ? Describe(*lease) + " is at work" : "its lease was taken away");
    }
    return {std::move(lock), std::make_unique<LeaseKeeper>(fs, run, self), self.attempt};
  }
}

std::optional<monitor::Lease> ReadLeasePatiently(const FileSystem& fs, const monitor::RunDir& run,
                                                 const Waiting& waiting) {
  const double begin = waiting.clock.Monotonic();
  for (;; Sleep(waiting, kLookSeconds)) {
    try {
      return monitor::ReadLease(run, fs);
    } catch (const Error&) {
      if (waiting.clock.Monotonic() - begin > kWatchSeconds) throw;
    }
  }
}

}  // namespace contrail::launcher
