#include "worker/open_step.h"

namespace contrail::worker {

std::unique_ptr<ckpt::StepReader> OpenTogether(
    const FileSystem& fs, Comm& comm, const std::string& dir,
    const std::function<void(Comm&, const std::function<void()>&)>& agree) {
  std::unique_ptr<ckpt::StepReader> step;
  agree(comm, [&] {
    if (comm.rank() == 0) step = ckpt::StepReader::Open(fs, dir);
  });
  const std::string header = comm.BroadcastText(step ? step->header() : "", 0);
  agree(comm, [&] {
    if (comm.rank() != 0) step = ckpt::StepReader::FromHeader(fs, header);
  });
  return step;
}

}  // namespace contrail::worker
