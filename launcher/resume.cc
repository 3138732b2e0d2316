#include "launcher/resume.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/log.h"
#include "configs/load.h"
#include "launcher/commands.h"
#include "launcher/go_back.h"
#include "launcher/host_room.h"
#include "launcher/patience.h"
#include "launcher/ranks.h"
#include "launcher/run_setup.h"
#include "launcher/supervise.h"

namespace contrail::launcher {

bool RequeuedRun(const monitor::RunDir& run, const std::optional<slurm::Allocation>& allocation) {
  if (!allocation || allocation->restart_count < 1) return false;
  const auto lease = ReadLeasePatiently(PosixFileSystem(), run);
  return lease && lease->job == allocation->job_id;
}

namespace {

void Claim(const monitor::RunDir& run, const Job& job, RunClaim& claim) {
  claim = TakeRun(PosixFileSystem(), run, RunLock(run), OwnLease(0, job.allocation));
}

// What a command asks for and the run that it takes over; can be repeated where it threw.
void Prepare(const monitor::RunDir& run, const ParsedArgs& args, Job& job, RunClaim& claim) {
  FileSystem& fs = PosixFileSystem();
  if (!fs.Exists(run.Config())) {
    throw UserError("E-RUN-MISSING", run.root, "is not a run directory (no config.toml in it)",
                    "`contrail train CONFIG.toml` starts a run");
  }
  job.run = run;
  job.allocation = slurm::ReadAllocation();
  job.config = LoadResolved(run.root, args.Values("--set"));
  ApplyRanksOption(args, job.config);
  SettleRanks(job.config, job.allocation);
  // In a requeued job nobody waits for words: files that are not there yet are an outage, and the
  // ranks find that out with more patience.
  const bool requeued = RequeuedRun(run, job.allocation);
  if (!requeued) {
    CheckInputs(job.config);
    CheckHostRoom(ReadHostRoom(), RanksOfANode(job.config, job.allocation));
  }
  FindMpirun(job.config);
  WorkerProgram();
  // A requeued job's script says the same words again. What they asked for has been done: to go
  // back again would undo everything since, and consent to other shards was to those of that time.
  if (requeued) return Claim(run, job, claim);
  for (const std::string& set : args.Values("--set")) {
    if (set.starts_with("data.train=")) job.consent = OwnerToken();
  }
  if (args.Has("--from")) {
    job.from = static_cast<uint64_t>(args.Int("--from", 0, 0, INT64_MAX));
    FindStep(fs, run, *job.from);
  }
  Claim(run, job, claim);
}

}  // namespace

int ResumeRun(const monitor::RunDir& run, const ParsedArgs& args) {
  FileSystem& fs = PosixFileSystem();
  Job job;
  RunClaim claim;
  DoPatiently(60 * Config().launcher.outage_minutes, [&] { Prepare(run, args, job, claim); });
  std::function<void()> bring_back;
  if (job.from) bring_back = GoBackTo(fs, run, *job.from, claim.attempt);
  const std::string config = fs.ReadAll(run.Config());
  if (args.Has("--ranks") || args.Has("--set"))
    fs.WriteAtomically(run.Config(), ToToml(job.config));
  job.take_back = [&] {
    if (fs.ReadAll(run.Config()) != config) fs.WriteAtomically(run.Config(), config);
    if (bring_back) bring_back();
  };
  return Supervise(job, std::move(claim));
}

int RunResume(const ParsedArgs& args) {
  return ResumeRun({AbsolutePath(args.positional[0])}, args);
}

}  // namespace contrail::launcher
