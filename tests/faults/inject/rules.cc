#include "rules.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace contrail::inject {
namespace {

constexpr int kMostRules = 64;
constexpr size_t kMostText = 1 << 16;

struct ErrorName {
  const char* name;
  int value;
};
constexpr ErrorName kErrors[] = {
    {"EIO", EIO},       {"ESTALE", ESTALE}, {"EMFILE", EMFILE}, {"ENFILE", ENFILE},
    {"ENOSPC", ENOSPC}, {"EACCES", EACCES}, {"ENOENT", ENOENT}, {"EROFS", EROFS},
    {"EDQUOT", EDQUOT}, {"EAGAIN", EAGAIN}, {"ENOMEM", ENOMEM}, {"EBUSY", EBUSY},
    {"EINTR", EINTR},   {"EPERM", EPERM},   {"ENOSYS", ENOSYS}, {"ETIMEDOUT", ETIMEDOUT}};

struct Rule {
  const char* name = "";
  const char* calls = "";
  const char* path = "*";
  const char* while_there = nullptr;
  const char* once = nullptr;
  bool main_thread = false;
  long first = 1;
  long count = 0;
  long every = 1;
  double delay = 0;
  bool hang = false;
  int kill = 0;
  Outcome outcome;
  std::atomic<long> seen{0};
};

char text[kMostText];  // the rules point into it
char log_path[4096];
char own_name[64];  // for the log: "rank:1"
constinit Rule rules[kMostRules];
int rule_count = 0;

[[noreturn]] void Refuse(const char* why, const char* what) {
  // A rule that nobody understands must not pass for a fault that nothing noticed.
  dprintf(STDERR_FILENO, "fault rules: %s: %s\n", why, what);
  _exit(97);
}

bool Exists(const char* path) {
  struct stat info {};
  return syscall(SYS_newfstatat, AT_FDCWD, path, &info, 0) == 0;
}

void Sleep(double seconds) {
  timespec left{
      static_cast<time_t>(seconds),
      static_cast<long>((seconds - static_cast<double>(static_cast<time_t>(seconds))) * 1e9)};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
  }
}

bool Glob(const char* pattern, const char* name) {
  for (; *pattern != '\0'; ++pattern, ++name) {
    if (*pattern == '*') {
      for (const char* rest = name;; ++rest) {
        if (Glob(pattern + 1, rest)) return true;
        if (*rest == '\0') return false;
      }
    }
    if (*pattern != *name) return false;
  }
  return *name == '\0';
}

bool PathMatches(const char* pattern, const char* path) {
  return strchr(pattern, '*') == nullptr ? strstr(path, pattern) != nullptr : Glob(pattern, path);
}

// Is `word` one of the comma-separated `list`?
bool Among(const char* list, const char* word) {
  const size_t length = strlen(word);
  for (const char* at = list; (at = strstr(at, word)) != nullptr; at += length) {
    const bool begins = at == list || at[-1] == ',';
    if (begins && (at[length] == ',' || at[length] == '\0')) return true;
  }
  return false;
}

bool IsMe(const char* who, const char* program, const char* rank) {
  if (strcmp(who, "any") == 0) return true;
  if (strcmp(who, "launcher") == 0) return strcmp(program, "contrail") == 0;
  if (strcmp(program, "contrail-worker") != 0) return false;
  if (strcmp(who, "worker") == 0) return true;
  if (strncmp(who, "rank:", 5) != 0) Refuse("who is", who);
  return rank != nullptr && strcmp(who + 5, rank) == 0;
}

int ErrorOf(const char* name) {
  for (const ErrorName& error : kErrors) {
    if (strcmp(error.name, name) == 0) return error.value;
  }
  Refuse("no errno", name);
}

// One line, cut at its blanks. False: meant for another process.
bool Parse(char* line, const char* program, const char* rank, Rule* rule) {
  const char* who = "any";
  char* rest = nullptr;
  for (char* word = strtok_r(line, " \t", &rest); word != nullptr;
       word = strtok_r(nullptr, " \t", &rest)) {
    char* value = strchr(word, '=');
    if (value == nullptr) Refuse("no key=value", word);
    *value++ = '\0';
    const auto is = [word](const char* key) { return strcmp(word, key) == 0; };
    if (is("name"))
      rule->name = value;
    else if (is("who"))
      who = value;
    else if (is("call"))
      rule->calls = value;
    else if (is("path"))
      rule->path = value;
    else if (is("while"))
      rule->while_there = value;
    else if (is("once"))
      rule->once = value;
    else if (is("thread"))
      rule->main_thread = strcmp(value, "main") == 0 || (Refuse("thread is", value), false);
    else if (is("nth"))
      rule->first = strtol(value, nullptr, 10);
    else if (is("count"))
      rule->count = strtol(value, nullptr, 10);
    else if (is("every"))
      rule->every = std::max(1L, strtol(value, nullptr, 10));
    else if (is("delay"))
      rule->delay = strtod(value, nullptr);
    else if (is("hang"))
      rule->hang = true;
    else if (is("kill"))
      rule->kill = static_cast<int>(strtol(value, nullptr, 10));
    else if (is("error"))
      rule->outcome.error = ErrorOf(value);
    else if (is("skip"))
      rule->outcome.skip = true;
    else if (is("short"))
      rule->outcome.most_bytes = strtoul(value, nullptr, 10);
    else
      Refuse("no key", word);
  }
  if (rule->hang && rule->while_there == nullptr) Refuse("hang needs while", rule->name);
  return IsMe(who, program, rank);
}

__attribute__((constructor)) void Load() {
  const char* path = getenv("CONTRAIL_TEST_FAULTS");
  if (path == nullptr) return;
  const int fd = static_cast<int>(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
  if (fd < 0) Refuse("no such file", path);
  const long size = syscall(SYS_read, fd, text, kMostText - 1);
  syscall(SYS_close, fd);
  if (size < 0 || size == kMostText - 1) Refuse("cannot read", path);
  snprintf(log_path, sizeof log_path, "%s.hits", path);

  const char* program = program_invocation_short_name;
  const char* rank = getenv("OMPI_COMM_WORLD_RANK");
  if (rank == nullptr) {
    snprintf(own_name, sizeof own_name, "%s", program);
  } else {
    snprintf(own_name, sizeof own_name, "rank:%s", rank);
  }
  char* rest = nullptr;
  for (char* line = strtok_r(text, "\n", &rest); line != nullptr;
       line = strtok_r(nullptr, "\n", &rest)) {
    if (*line == '#') continue;
    if (rule_count == kMostRules) Refuse("too many rules", line);
    // A half-filled rule of another process is filled anew by the next line.
    Rule& rule = *new (&rules[rule_count]) Rule;
    if (Parse(line, program, rank, &rule)) ++rule_count;
  }
}

void Log(const Rule& rule, const char* call, const char* path, long number) {
  char line[4096 + 256];
  const int length =
      snprintf(line, sizeof line, "rule=%s call=%s who=%s pid=%d number=%ld path=%s\n", rule.name,
               call, own_name, static_cast<int>(getpid()), number, path);
  const int fd = static_cast<int>(
      syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (fd < 0) return;
  syscall(SYS_write, fd, line, length);
  syscall(SYS_close, fd);
}

bool Claim(const char* path) {
  const int fd = static_cast<int>(
      syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (fd < 0) return false;
  syscall(SYS_close, fd);
  return true;
}

// Is this call one that the rule hits? Counts it.
bool Hits(Rule& rule, const char* call, const char* path, long* number) {
  if (!Among(rule.calls, call) || !PathMatches(rule.path, path)) return false;
  if (rule.main_thread && syscall(SYS_gettid) != getpid()) return false;
  if (rule.while_there != nullptr && !Exists(rule.while_there)) return false;
  *number = ++rule.seen;
  if (*number < rule.first || (*number - rule.first) % rule.every != 0) return false;
  if (rule.count > 0 && *number >= rule.first + rule.count * rule.every) return false;
  return rule.once == nullptr || Claim(rule.once);
}

}  // namespace

bool Concerned(const char* call) {
  for (int i = 0; i < rule_count; ++i) {
    if (Among(rules[i].calls, call)) return true;
  }
  return false;
}

Outcome Ask(const char* call, const char* path) {
  const int err = errno;
  Outcome outcome;
  for (int i = 0; i < rule_count; ++i) {
    Rule& rule = rules[i];
    long number = 0;
    if (!Hits(rule, call, path, &number)) continue;
    Log(rule, call, path, number);
    if (rule.delay > 0) Sleep(rule.delay);
    while (rule.hang && Exists(rule.while_there)) Sleep(0.01);
    if (rule.kill != 0) syscall(SYS_kill, getpid(), rule.kill);
    if (rule.outcome.error != 0) outcome.error = rule.outcome.error;
    outcome.skip |= rule.outcome.skip;
    if (rule.outcome.most_bytes != 0) outcome.most_bytes = rule.outcome.most_bytes;
    if (outcome.error != 0) break;
  }
  errno = err;
  return outcome;
}

}  // namespace contrail::inject
