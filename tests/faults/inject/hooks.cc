// The calls that the preloaded library stands in for. Each is a few lines: ask the rules, then fail
// or go on to the C library. Names of calls in rules are those of POSIX: open64 and fopen count as
// "open", pwrite64 and pwritev as "pwrite", fstatat and lstat as "stat", fdatasync as "fsync".

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "rules.h"

namespace contrail::inject {
namespace {

constexpr size_t kLongest = 4096;

// What the C library has under this name; found once a call site.
// No guarded static: guards may wait with syscall(), which is hooked below.
#define REAL(name)                                                \
  ([]() {                                                         \
    constinit static std::atomic<void*> found{nullptr};           \
    if (found.load() == nullptr) found = dlsym(RTLD_NEXT, #name); \
    return reinterpret_cast<decltype(&::name)>(found.load());     \
  }())

void OfDescriptor(int fd, char (&path)[kLongest]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const long size = syscall(SYS_readlinkat, AT_FDCWD, link, path, kLongest - 1);
  path[size < 0 ? 0 : size] = '\0';
}

void Absolute(int dir, const char* name, char (&path)[kLongest]) {
  path[0] = '\0';
  if (name[0] != '/') {
    if (dir == AT_FDCWD) {
      if (syscall(SYS_getcwd, path, kLongest) < 0) path[0] = '\0';
    } else {
      OfDescriptor(dir, path);
    }
  }
  const size_t length = strlen(path);
  snprintf(path + length, kLongest - length, "%s%s", length > 0 ? "/" : "", name);
}

Outcome AskName(const char* call, int dir, const char* name) {
  if (name == nullptr || !Concerned(call)) return {};
  char path[kLongest];
  Absolute(dir, name, path);
  const Outcome outcome = Ask(call, path);
  if (outcome.error != 0) errno = outcome.error;
  return outcome;
}

Outcome AskDescriptor(const char* call, int fd) {
  if (!Concerned(call)) return {};
  char path[kLongest];
  OfDescriptor(fd, path);
  const Outcome outcome = Ask(call, path);
  if (outcome.error != 0) errno = outcome.error;
  return outcome;
}

// Is this address part of the program, and not of a library?
bool InProgram(const void* address) {
  const int found = dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* asked) {
        const auto at = reinterpret_cast<uintptr_t>(asked);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& part = info->dlpi_phdr[i];
          const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
          if (part.p_type == PT_LOAD && at >= begin && at < begin + part.p_memsz) return 1;
        }
        return -1;  // the first one is the program
      },
      const_cast<void*>(address));
  return found == 1;
}

size_t Shorter(const Outcome& outcome, size_t size) {
  return outcome.most_bytes > 0 ? std::min(size, outcome.most_bytes) : size;
}

}  // namespace
}  // namespace contrail::inject

using contrail::inject::AskDescriptor;
using contrail::inject::AskName;
using contrail::inject::Concerned;
using contrail::inject::InProgram;
using contrail::inject::Shorter;

// A call by name that returns -1 on failure; `dir` and `name` are among its parameters.
#define BY_NAME(call, result, function, dir, name, parameters, arguments) \
  extern "C" result function parameters {                                 \
    const auto outcome = AskName(call, dir, name);                        \
    if (outcome.error != 0) return static_cast<result>(-1);               \
    if (outcome.skip) return 0;                                           \
    return REAL(function) arguments;                                      \
  }

// The same by descriptor.
#define BY_DESCRIPTOR(call, result, function, fd, parameters, arguments) \
  extern "C" result function parameters {                                \
    const auto outcome = AskDescriptor(call, fd);                        \
    if (outcome.error != 0) return static_cast<result>(-1);              \
    if (outcome.skip) return 0;                                          \
    return REAL(function) arguments;                                     \
  }

// open and its like: the mode is there only where something may be created.
#define OPEN(function, call, dir, parameters, arguments) \
  extern "C" int function parameters {                   \
    mode_t mode = 0;                                     \
    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {          \
      va_list rest;                                      \
      va_start(rest, flags);                             \
      mode = va_arg(rest, mode_t);                       \
      va_end(rest);                                      \
    }                                                    \
    if (AskName(call, dir, name).error != 0) return -1;  \
    return REAL(function) arguments;                     \
  }
OPEN(open, "open", AT_FDCWD, (const char* name, int flags, ...), (name, flags, mode))
OPEN(open64, "open", AT_FDCWD, (const char* name, int flags, ...), (name, flags, mode))
OPEN(openat, "open", at, (int at, const char* name, int flags, ...), (at, name, flags, mode))
OPEN(openat64, "open", at, (int at, const char* name, int flags, ...), (at, name, flags, mode))

// glibc's streams open files by a name of their own, so the streams are asked themselves.
extern "C" FILE* fopen(const char* name, const char* mode) {
  if (AskName("open", AT_FDCWD, name).error != 0) return nullptr;
  return REAL(fopen)(name, mode);
}
extern "C" FILE* fopen64(const char* name, const char* mode) {
  if (AskName("open", AT_FDCWD, name).error != 0) return nullptr;
  return REAL(fopen64)(name, mode);
}

extern "C" DIR* opendir(const char* name) {
  if (AskName("opendir", AT_FDCWD, name).error != 0) return nullptr;
  return REAL(opendir)(name);
}
extern "C" dirent* readdir(DIR* dir) {
  if (AskDescriptor("readdir", dirfd(dir)).error != 0) return nullptr;
  return REAL(readdir)(dir);
}
extern "C" dirent64* readdir64(DIR* dir) {
  if (AskDescriptor("readdir", dirfd(dir)).error != 0) return nullptr;
  return REAL(readdir64)(dir);
}

BY_NAME("stat", int, stat, AT_FDCWD, name, (const char* name, struct stat* out), (name, out))
BY_NAME("stat", int, stat64, AT_FDCWD, name, (const char* name, struct stat64* out), (name, out))
BY_NAME("stat", int, lstat, AT_FDCWD, name, (const char* name, struct stat* out), (name, out))
BY_NAME("stat", int, lstat64, AT_FDCWD, name, (const char* name, struct stat64* out), (name, out))
BY_NAME("stat", int, fstatat, at, name, (int at, const char* name, struct stat* out, int flags),
        (at, name, out, flags))
BY_NAME("stat", int, fstatat64, at, name, (int at, const char* name, struct stat64* out, int flags),
        (at, name, out, flags))
BY_NAME("stat", int, access, AT_FDCWD, name, (const char* name, int mode), (name, mode))

BY_NAME("mkdir", int, mkdir, AT_FDCWD, name, (const char* name, mode_t mode), (name, mode))
BY_NAME("mkdir", int, mkdirat, at, name, (int at, const char* name, mode_t mode), (at, name, mode))
BY_NAME("unlink", int, unlink, AT_FDCWD, name, (const char* name), (name))
BY_NAME("unlink", int, unlinkat, at, name, (int at, const char* name, int flags), (at, name, flags))
BY_NAME("unlink", int, remove, AT_FDCWD, name, (const char* name), (name))
BY_NAME("rmdir", int, rmdir, AT_FDCWD, name, (const char* name), (name))
BY_NAME("rename", int, rename, AT_FDCWD, to, (const char* from, const char* to), (from, to))
BY_NAME("rename", int, renameat, at, to, (int from_at, const char* from, int at, const char* to),
        (from_at, from, at, to))
BY_NAME("rename", int, renameat2, at, to,
        (int from_at, const char* from, int at, const char* to, unsigned flags),
        (from_at, from, at, to, flags))
BY_NAME("link", int, link, AT_FDCWD, to, (const char* from, const char* to), (from, to))
BY_NAME("truncate", int, truncate, AT_FDCWD, name, (const char* name, off_t size), (name, size))

BY_DESCRIPTOR("read", ssize_t, read, fd, (int fd, void* data, size_t size), (fd, data, size))
BY_DESCRIPTOR("read", ssize_t, readv, fd, (int fd, const iovec* parts, int count),
              (fd, parts, count))
BY_DESCRIPTOR("pread", ssize_t, pread, fd, (int fd, void* data, size_t size, off_t at),
              (fd, data, size, at))
BY_DESCRIPTOR("pread", ssize_t, pread64, fd, (int fd, void* data, size_t size, off64_t at),
              (fd, data, size, at))
BY_DESCRIPTOR("pread", ssize_t, preadv, fd, (int fd, const iovec* parts, int count, off_t at),
              (fd, parts, count, at))
BY_DESCRIPTOR("pread", ssize_t, preadv64, fd, (int fd, const iovec* parts, int count, off64_t at),
              (fd, parts, count, at))
BY_DESCRIPTOR("write", ssize_t, writev, fd, (int fd, const iovec* parts, int count),
              (fd, parts, count))
BY_DESCRIPTOR("pwrite", ssize_t, pwritev, fd, (int fd, const iovec* parts, int count, off_t at),
              (fd, parts, count, at))
BY_DESCRIPTOR("pwrite", ssize_t, pwritev64, fd, (int fd, const iovec* parts, int count, off64_t at),
              (fd, parts, count, at))
BY_DESCRIPTOR("fsync", int, fsync, fd, (int fd), (fd))
BY_DESCRIPTOR("fsync", int, fdatasync, fd, (int fd), (fd))
BY_DESCRIPTOR("fsync", int, sync_file_range, fd, (int fd, off64_t at, off64_t size, unsigned flags),
              (fd, at, size, flags))
BY_DESCRIPTOR("truncate", int, ftruncate, fd, (int fd, off_t size), (fd, size))
BY_DESCRIPTOR("truncate", int, ftruncate64, fd, (int fd, off64_t size), (fd, size))
BY_DESCRIPTOR("fstat", int, fstat, fd, (int fd, struct stat* out), (fd, out))
BY_DESCRIPTOR("fstat", int, fstat64, fd, (int fd, struct stat64* out), (fd, out))
BY_DESCRIPTOR("flock", int, flock, fd, (int fd, int operation), (fd, operation))

// posix_fallocate returns its errors.
extern "C" int posix_fallocate(int fd, off_t at, off_t size) {
  const int error = AskDescriptor("fallocate", fd).error;
  return error != 0 ? error : REAL(posix_fallocate)(fd, at, size);
}
BY_DESCRIPTOR("fallocate", int, fallocate, fd, (int fd, int mode, off_t at, off_t size),
              (fd, mode, at, size))

// A failed close still gives the descriptor back, as Linux does.
extern "C" int close(int fd) {
  const int error = AskDescriptor("close", fd).error;
  const int result = REAL(close)(fd);
  if (error == 0) return result;
  errno = error;
  return -1;
}

extern "C" ssize_t write(int fd, const void* data, size_t size) {
  const auto outcome = AskDescriptor("write", fd);
  if (outcome.error != 0) return -1;
  return REAL(write)(fd, data, Shorter(outcome, size));
}
extern "C" ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  const auto outcome = AskDescriptor("pwrite", fd);
  if (outcome.error != 0) return -1;
  return REAL(pwrite)(fd, data, Shorter(outcome, size), at);
}
extern "C" ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  const auto outcome = AskDescriptor("pwrite", fd);
  if (outcome.error != 0) return -1;
  return REAL(pwrite64)(fd, data, Shorter(outcome, size), at);
}

// The program itself, not a library, looks at the clock. Every sign of progress in a worker does,
// so a delay here is one between two pieces of its work. No path, as the three below.
extern "C" int clock_gettime(clockid_t clock, timespec* time) {
  if (clock == CLOCK_MONOTONIC && Concerned("clock") && InProgram(__builtin_return_address(0))) {
    const int err = errno;
    const int error = AskName("clock", AT_FDCWD, "/clock").error;
    errno = error != 0 ? error : err;
    if (error != 0) return -1;
  }
  return REAL(clock_gettime)(clock, time);
}

// Memory that cannot be had, as LibTorch asks for it. This call and the two below have no path.
extern "C" int posix_memalign(void** memory, size_t alignment, size_t size) {
  const int err = errno;
  const int error = AskName("memory", AT_FDCWD, "/memory").error;
  errno = err;
  return error != 0 ? error : REAL(posix_memalign)(memory, alignment, size);
}

// No thread to be had.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*start)(void*), void* argument) {
  const int err = errno;
  const int error = AskName("pthread_create", AT_FDCWD, "/thread").error;
  errno = err;
  return error != 0 ? error : REAL(pthread_create)(thread, attributes, start, argument);
}

// Raw system calls of which the C library has no function everywhere.
extern "C" long syscall(long number, ...) {
  va_list rest;
  va_start(rest, number);
  const long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
  const long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
  va_end(rest);
  if (number == SYS_pidfd_open && AskName("pidfd_open", AT_FDCWD, "/pidfd").error != 0) return -1;
  return REAL(syscall)(number, a, b, c, d, e, f);
}
