#pragma once
// Compute threads that wait must sleep, not spin: on a machine shared by ranks, loaders and writers
// spinning threads cost up to ten times a step. libgomp reads OMP_WAIT_POLICY once, when it is
// loaded, so the only way to set it from inside is to start over.

namespace contrail::worker {

// Starts this program over with OMP_WAIT_POLICY=passive unless the variable is set (a user's choice
// wins) or the command line says `--threads 1`, where no thread ever waits. Call first in main.
void SleepWhileWaiting(int argc, char** argv);

}  // namespace contrail::worker
