#include "bench/ranks.h"

namespace contrail::bench {

std::unique_ptr<worker::Comm> MakeComm() {
  return worker::StartedByMpi() ? worker::MakeMpiComm() : worker::MakeSingleComm();
}

Team TeamOf(worker::Comm& comm) {
  const auto agree = [&comm](int64_t number) {
    at::Tensor tensor = at::full({1}, number, at::kLong);
    comm.Broadcast(tensor, 0);
    return tensor.item<int64_t>();
  };
  const auto total = [&comm](std::vector<double>& values) {
    comm.AllReduceSum(at::from_blob(values.data(), {static_cast<int64_t>(values.size())},
                                    at::TensorOptions(at::kDouble)));
  };
  return {comm.rank() == 0, agree, total};
}

}  // namespace contrail::bench
