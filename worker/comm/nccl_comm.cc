#include "worker/comm/nccl_comm.h"

#include <dlfcn.h>

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "common/beside_program.h"
#include "common/error.h"
#include "common/host_name.h"
#include "worker/comm/device_comm.h"
#include "worker/comm/nccl/abi.h"

namespace contrail::worker {
namespace {

decltype(&ContrailNcclBackend) Load(std::string* problem) {
  void* const library = LoadBesideProgram("libcontrail_nccl.so", problem);
  if (library == nullptr) {
    if (problem->empty()) *problem = "this build has no NCCL part";
    return nullptr;
  }
  const auto make =
      reinterpret_cast<decltype(&ContrailNcclBackend)>(dlsym(library, "ContrailNcclBackend"));
  if (make == nullptr) *problem = "libcontrail_nccl.so is of another build";
  return make;
}

// Every rank hears of every rank's problem.
void ThrowTogether(Comm& control, const std::string& problem) {
  const std::vector<std::string> problems = control.AllGatherText(problem);
  std::string all;
  for (size_t rank = 0; rank < problems.size(); ++rank) {
    if (problems[rank].empty()) continue;
    all += (all.empty() ? "rank " : "; rank ") + std::to_string(rank) + ": " + problems[rank];
  }
  if (all.empty()) return;
  throw EnvironmentError("E-NCCL-INIT", "", all,
                         "NCCL needs an NVIDIA driver, a device for every rank, and a build where "
                         "LibTorch has CUDA");
}

// Where ranks meet to exchange NCCL's own address: a server on rank 0.
c10::intrusive_ptr<c10d::Store> MeetingPlace(Comm& control) {
  const bool serves = control.rank() == 0, one_node = control.node_of_rank().back() == 0;
  const std::string host = one_node ? "localhost" : HostName();
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.numWorkers = static_cast<size_t>(control.size());
  options.waitWorkers = false;
  options.isServer = true;
  c10::intrusive_ptr<c10d::TCPStore> store;
  if (serves) store = c10::make_intrusive<c10d::TCPStore>(host, options);
  const std::string address =
      control.BroadcastText(serves ? host + ":" + std::to_string(store->getPort()) : "", 0);
  if (serves) return store;
  const size_t colon = address.rfind(':');
  options.isServer = false;
  options.port = static_cast<uint16_t>(std::stoi(address.substr(colon + 1)));
  return c10::make_intrusive<c10d::TCPStore>(address.substr(0, colon), options);
}

}  // namespace

std::unique_ptr<Comm> MakeNcclComm(std::unique_ptr<Comm> control, int device, double timeout) {
  std::string problem;
  const auto make = Load(&problem);
  ThrowTogether(*control, problem);
  c10d::Backend* backend = nullptr;
  c10::intrusive_ptr<c10d::Store> store;
  try {
    store = MeetingPlace(*control);
  } catch (const c10::Error& error) {
    problem = "the ranks cannot meet: " + std::string(error.what_without_backtrace());
  }
  ThrowTogether(*control, problem);
  char text[512] = "";
  if (!make(store.get(), control->rank(), control->size(), device, timeout, &backend, text,
            sizeof text)) {
    problem = text;
  }
  ThrowTogether(*control, problem);
  return MakeDeviceComm(std::move(control), c10::intrusive_ptr<c10d::Backend>::reclaim(backend),
                        at::kCUDA);
}

}  // namespace contrail::worker
