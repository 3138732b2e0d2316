#include "monitoring/owner/take_over.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <utility>

#include "common/error.h"
#include "common/log.h"
#include "common/strings.h"
#include "monitoring/owner/claim.h"

namespace contrail::monitor {
namespace {

constexpr double kLookSeconds = 0.5;

Error Busy(const RunDir& run, const std::string& holder) {
  return UserError("E-RUN-BUSY", run.root, holder,
                   "wait for it to end, or stop it (Ctrl-C or SIGTERM saves a checkpoint first)");
}

std::string Describe(const Lease& lease) {
  return "a launcher on " + (lease.host.empty() ? "an unknown host" : lease.host) + " (pid " +
         std::to_string(lease.pid) + ")";
}

// What of a lease changes when its holder does anything.
std::string Mark(const std::optional<Lease>& lease) {
  if (!lease) return "none";
  return lease->owner + " " + lease->host + " " + lease->boot + " " + std::to_string(lease->pid) +
         " " + std::to_string(lease->attempt) + " " + lease->state + " " +
         std::to_string(lease->renewals) + " " + ExactDouble(lease->time);
}

// Who may have the run, as of one look.
struct Standing {
  std::optional<Lease> lease;
  std::optional<Lease> holder;  // to be watched; nothing: the run is free
  int last_attempt = 0;
  std::string mark;  // changes when anybody does anything
};

// Somebody claimed an attempt and has not written a lease yet. Attempts of a bare mpirun of an
// older program have no owner but leave other files.
std::optional<Lease> Between(const FileSystem& fs, const RunDir& run, const Standing& standing) {
  if (standing.lease && standing.lease->attempt >= standing.last_attempt) return std::nullopt;
  if (fs.KindOf(run.Attempt(standing.last_attempt)) != EntryKind::kDirectory) return std::nullopt;
  Lease claimant = ClaimantOf(fs, run, standing.last_attempt);
  if (claimant.owner.empty() && !fs.List(run.Attempt(standing.last_attempt)).empty()) {
    return std::nullopt;
  }
  if (standing.lease && claimant.owner == standing.lease->owner) return std::nullopt;
  if (claimant.owner == OwnerToken()) return std::nullopt;  // our own try, whose lease failed
  return claimant;
}

// `lock_tells`: holders on our own host are judged by the lock, which we have.
Standing Look(const FileSystem& fs, const RunDir& run, const Lease& self, bool lock_tells) {
  Standing standing;
  standing.lease = ReadLease(run, fs);
  standing.last_attempt = LastAttempt(fs, run);
  const auto between = Between(fs, run, standing);
  const auto counts = [&](const std::optional<Lease>& lease) {
    const bool here = lease && lease->host == self.host && lease->boot == self.boot;
    return lease && lease->state != "released" && !(lock_tells && here);
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
  Watcher(const FileSystem& fs, const RunDir& run, const Waiting& waiting)
      : fs_(fs), run_(run), waiting_(waiting), begin_(waiting.clock.Monotonic()) {}

  Standing UntilFree(const Lease& self, bool lock_tells) {
    for (;; Sleep(waiting_, kLookSeconds)) {
      Standing now;
      try {
        now = monitor::Look(fs_, run_, self, lock_tells);
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
  const RunDir& run_;
  const Waiting& waiting_;
  double begin_;
  std::optional<Standing> watched_;
};

}  // namespace

void Sleep(const Waiting& waiting, double seconds) {
  if (waiting.sleep) return waiting.sleep(seconds);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

RunLock::RunLock(const RunDir& run) {
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

namespace {

// Into the place of the lease that was found, whose mark is `before`. Throws where somebody else is
// at work: the one who was taken for dead came back, or another one came first.
void WriteFirstLease(FileSystem& fs, const RunDir& run, const Lease& self,
                     const std::string& before, const Waiting& waiting) {
  std::optional<Lease> lease;
  double asked = 0;
  const auto unchanged = [&] {
    lease = ReadLease(run, fs);
    asked = waiting.clock.Monotonic();
    return Mark(lease) == before;
  };
  const auto busy = [&] {
    return Busy(run, lease ? Describe(*lease) + " is at work" : "its lease was taken away");
  };
  if (!unchanged() || !WriteLeaseIf(run, self, fs, unchanged)) throw busy();
  // A name that was long in coming may have replaced the lease of somebody who took us for dead: he
  // writes his again with his next renewal.
  const bool late = waiting.clock.Monotonic() - asked > kLeaseRenewal;
  if (late) Sleep(waiting, 2 * kLeaseRenewal);
  lease = ReadLease(run, fs);
  if (!lease || lease->owner != self.owner) throw busy();
}

}  // namespace

RunClaim TakeRun(FileSystem& fs, const RunDir& run, RunLock lock, Lease self,
                 const Waiting& waiting) {
  Watcher watcher(fs, run, waiting);
  bool lock_tells = lock.tells();
  for (;;) {
    const Standing standing = watcher.UntilFree(self, lock_tells);
    self.attempt = standing.last_attempt + 1;
    if (!ClaimAttempt(fs, run, self.attempt, self)) {
      // Somebody else came just now, on whatever host: watched like every other.
      lock_tells = false;
      continue;
    }
    WriteFirstLease(fs, run, self, Mark(standing.lease), waiting);
    return {std::move(lock), std::make_unique<LeaseKeeper>(fs, run, self), self.attempt};
  }
}

std::optional<Lease> ReadLeasePatiently(const FileSystem& fs, const RunDir& run,
                                        const Waiting& waiting) {
  const double begin = waiting.clock.Monotonic();
  for (;; Sleep(waiting, kLookSeconds)) {
    try {
      return ReadLease(run, fs);
    } catch (const Error&) {
      if (waiting.clock.Monotonic() - begin > kWatchSeconds) throw;
    }
  }
}

}  // namespace contrail::monitor
