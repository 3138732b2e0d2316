#pragma once
// Putting the job back into the queue, by command: exit codes alone requeue nothing unless the
// site lists them (RequeueExit).

#include <string>

namespace contrail::slurm {

// Runs `scontrol requeue JOB`. Slurm then ends this job (SIGTERM first) and starts the batch
// script again from its top, with SLURM_RESTART_COUNT one higher. Returns an empty text, or why
// it was refused (--no-requeue, scontrol missing): the caller reports it, the run is safe anyway.
std::string Requeue(const std::string& job_id);

}  // namespace contrail::slurm
