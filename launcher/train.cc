#include "common/error.h"
#include "configs/load.h"
#include "launcher/commands.h"
#include "launcher/host_room.h"
#include "launcher/ranks.h"
#include "launcher/resume.h"
#include "launcher/run_setup.h"
#include "launcher/supervise.h"

namespace contrail::launcher {

int RunTrain(const ParsedArgs& args) {
  Job job;
  job.allocation = slurm::ReadAllocation();
  job.config = LoadConfig(args.positional[0], args.Values("--set"));
  ApplyRanksOption(args, job.config);
  SettleRanks(job.config, job.allocation);
  job.run.root = AbsolutePath(args.Value("--run", job.config.run.dir + "/" + job.config.run.name));
  FileSystem& fs = PosixFileSystem();
  if (fs.Exists(job.run.root)) {
    // A requeued job starts its script from the top; this run is its own.
    if (!RequeuedRun(job.run, job.allocation)) throw RunExists(job.run);
    return ResumeRun(job.run, args);
  }
  CheckInputs(job.config);
  CheckHostRoom(ReadHostRoom(), RanksOfANode(job.config, job.allocation));
  FindMpirun(job.config);
  WorkerProgram();
  job.created = true;
  RunClaim claim = CreateRun(fs, job.run, job.config, OwnLease(1, job.allocation));
  return Supervise(job, std::move(claim));
}

}  // namespace contrail::launcher
