#include "bench/weights.h"

#include "common/file_system.h"
#include "model/files/file_weights.h"

namespace contrail::bench {

void LoadWeights(const std::string& path, model::ClipModel& model, worker::FlatParams& flat) {
  const auto file = model::files::FileWeights::Open(
      PosixFileSystem(), path, {.model = model.spec().name, .activation = model.spec().activation});
  for (size_t i = 0; i < model.params().size(); ++i) {
    at::Tensor value = at::empty(model.params()[i].shape);
    file->ReadParam(i, value.mutable_data_ptr<float>());
    flat.SetWeight(i, value);
  }
  model::BoundParams views = flat.views();
  for (const model::BufferSpec& spec : model.buffers()) {
    views.buffers.push_back(at::full(spec.shape, spec.initial));
  }
  model.Bind(std::move(views));
}

}  // namespace contrail::bench
