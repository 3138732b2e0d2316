#pragma once
// Stop requests and the tie to the parent process.
//
// A scheduler asks for a stop with SIGTERM or SIGUSR1, a person with Ctrl-C. The handler only sets
// a flag: ranks agree on it in the next step's pulse, so that all of them stop, and save, at the
// same step.

namespace contrail::worker {

// Installs the handlers, but for signals that were ignored when this program began, and unblocks
// SIGTERM and SIGUSR1 (a launcher may start its children with SIGTERM blocked, so that mpirun does
// not kill its ranks a second after a preemption notice).
void CatchStopSignals();

// True once a stop has been asked for.
bool StopRequested();

// The signal that asked, or 0.
int StopSignal();

// True where the signal waits at our parent, too, which a launcher starts with SIGTERM blocked:
// then it was sent to everything on this node and not to this process alone.
bool ParentWasSent(int signal);

// The kernel kills this process when its parent (mpirun, orted) dies: no rank outlives its job.
void DieWithParent();

}  // namespace contrail::worker
