#pragma once
// Faults on demand: which calls of which process fail, wait or end it.
//
// A rule is a line of the file that CONTRAIL_TEST_FAULTS names (read once, when a process starts):
//
//   name=lost who=rank:1 call=open,pread path=*/step_*/shard_* nth=3 count=1 error=EIO
//
//   name    what the log calls the rule
//   who     launcher, worker (any contrail-worker), rank:R (of mpirun), or any (the default: every
//           process that loads the library, mpirun and sh too)
//   call    names of calls, see hooks.cc
//   path    the whole absolute path; * matches slashes too; without a * any part of it
//   thread  main: only calls of the process's first thread
//   while   hits only while this file exists
//   nth     the first matching call of a process that is hit, from 1
//   count   how many calls are hit from there on (all of them where it is missing)
//   every   of the calls from the nth on only each n-th is one
//   once    of all calls in all processes only the one that creates this file is hit
//
// and what happens, in this order:
//
//   delay=S   waits S seconds
//   hang=yes  waits until the file of `while` is gone
//   kill=N    sends itself signal N
//   error=E   the call fails with that errno and does nothing
//   skip=yes  the call does nothing and says 0
//   short=N   a write takes at most N bytes
//
// Every hit is one line in the rules' file name + ".hits", written before anything happens. The
// library asks the kernel directly for all it needs itself, and allocates nothing, so hooks may run
// in signal handlers and between fork and exec.

#include <cstddef>

namespace contrail::inject {

struct Outcome {
  int error = 0;          // errno to fail with; 0: do the call
  bool skip = false;      // say 0 and do nothing
  size_t most_bytes = 0;  // 0: no limit
};

// False where no rule of this process names the call: nothing else needs to be found out.
bool Concerned(const char* call);

// What becomes of this call on this path (absolute). Waits and kills inside.
Outcome Ask(const char* call, const char* path);

}  // namespace contrail::inject
