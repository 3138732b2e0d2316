#pragma once
// The one error type of Contrail, and the exit codes of its programs.
//
// Three kinds, three consequences:
//   kUser         the user's to cure (config, arguments, input files, a full disk, a folder that
//                 may not be written): one line, exit 2, nothing written
//   kEnvironment  a disk, a peer, a device failed: the launcher may restart the job
//   kBug          a broken promise inside Contrail: exit 70
//
// Every message has a stable id ("E-CONFIG-KEY") with its own row in docs/troubleshooting.md.

#include <stdexcept>
#include <string>
#include <string_view>

namespace contrail {

enum class ErrorKind { kUser, kEnvironment, kBug };

// Exit codes of `contrail`. Only the launcher's own exit code is a promise to scripts; a worker's
// outcome travels in its end record, because mpirun and srun codes carry no truth.
inline constexpr int kExitDone = 0;
inline constexpr int kExitUser = 2;     // the user's mistake, nothing written
inline constexpr int kExitStopped = 3;  // stopped on request, a checkpoint is written
inline constexpr int kExitGaveUp = 4;   // gave up after the restart budget
inline constexpr int kExitBug = 70;     // EX_SOFTWARE
inline constexpr int kExitEnvironment =
    75;  // EX_TEMPFAIL: one-shot tools when a disk or peer failed

// An error with a stable id. `what()` is the whole line shown to the user:
//   E-CONFIG-KEY: presets/a.toml:12: unknown key 'train.lrr'; did you mean 'train.lr'?
class Error : public std::runtime_error {
 public:
  // `where` names file:line, key, record or rank (may be empty); `what` says what is wrong;
  // `fix` says what to do (may be empty).
  Error(ErrorKind kind, std::string_view id, std::string_view where, std::string_view what,
        std::string_view fix = {});

  ErrorKind kind() const { return kind_; }
  const std::string& id() const { return id_; }
  int exit_code() const;

 private:
  ErrorKind kind_;
  std::string id_;
};

// E-IO: the kernel refused something, and how. Carries errno, so that a caller who must know "is
// not there" from "cannot be told" needs no words.
class IoError : public Error {
 public:
  IoError(int number, std::string_view where, std::string_view what);
  int number() const { return number_; }  // errno

 private:
  int number_;
};

inline Error UserError(std::string_view id, std::string_view where, std::string_view what,
                       std::string_view fix = {}) {
  return Error(ErrorKind::kUser, id, where, what, fix);
}
inline Error EnvironmentError(std::string_view id, std::string_view where, std::string_view what,
                              std::string_view fix = {}) {
  return Error(ErrorKind::kEnvironment, id, where, what, fix);
}

// The text of errno value `err`, for example "No space left on device".
std::string ErrnoText(int err);

// A broken promise inside Contrail: throws Error(kBug, "E-BUG") with file, line and condition.
[[noreturn]] void BugAt(const char* file, int line, const char* condition);
#define CONTRAIL_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::contrail::BugAt(__FILE__, __LINE__, #condition))

}  // namespace contrail
