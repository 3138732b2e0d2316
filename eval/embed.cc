#include "eval/embed.h"

#include <filesystem>

#include "common/clock.h"
#include "common/error.h"
#include "common/strings.h"
#include "data/dataset.h"
#include "eval/batches.h"
#include "eval/feature_file.h"
#include "eval/folder.h"

namespace contrail::eval {
namespace {

std::shared_ptr<const data::Dataset> OpenImages(const std::string& images,
                                                const std::string& index_dir) {
  std::error_code not_there;
  if (!std::filesystem::is_directory(images, not_there)) {
    return data::Dataset::Open(data::ShardPatterns(images), {}, {}, index_dir);
  }
  const std::vector<std::string> tars = data::ShardPaths({images});
  return tars.empty() ? OpenFolder(images) : data::Dataset::Open(tars, {}, {}, index_dir);
}

std::vector<std::string> ReadTexts(const FileSystem& fs, const std::string& path) {
  if (!fs.Exists(path)) throw UserError("E-EMBED-TEXTS", path, "no such file");
  std::vector<std::string> texts;
  const std::string all = fs.ReadAll(path);
  data::RefuseWideText(all, path);
  for (std::string& line : Split(all, '\n')) {
    if (line.ends_with('\r')) line.pop_back();
    texts.push_back(std::move(line));
  }
  // The newline that ends the last line does not begin another one.
  if (!texts.empty() && texts.back().empty()) texts.pop_back();
  if (texts.empty()) throw UserError("E-EMBED-TEXTS", path, "is empty", "write one text a line");
  return texts;
}

void CheckFinite(const at::Tensor& features, const std::string& where) {
  if (at::isfinite(features).all().item<bool>()) return;
  throw EnvironmentError("E-EVAL-NONFINITE", where, "the model's features hold NaN or infinity",
                         "its weights are broken");
}

}  // namespace

EmbedResult Embed(FileSystem& fs, Encoder& encoder, const EmbedOptions& options) {
  const double start = SystemClock().Monotonic();
  FeatureFile::Options layout{.path = options.out,
                              .dim = encoder.spec().embed_dim,
                              .state = encoder.state(),
                              .checkpoint = encoder.directory()};
  std::shared_ptr<const data::Dataset> images;
  if (!options.images.empty()) {
    images = OpenImages(options.images, options.index_dir);
    layout.images = true;
    for (uint64_t i = 0; i < images->size(); ++i) layout.image_keys.push_back(images->Key(i));
  }
  std::vector<std::string> texts;
  if (!options.texts.empty()) {
    texts = ReadTexts(fs, options.texts);
    layout.texts = true;
    layout.num_texts = texts.size();
  }

  FeatureFile file(fs, layout);
  if (images) {
    ForEachBatch(*images, encoder.tokenizer(), encoder.spec().resolution, encoder.batch_size(),
                 [&](const data::Batch& batch, uint64_t first) {
                   const at::Tensor features = encoder.EncodeImages(batch);
                   CheckFinite(features, batch.keys[0]);
                   file.WriteImages(first, batch.num_samples, features.const_data_ptr<float>());
                 });
  }
  for (size_t first = 0; first < texts.size(); first += encoder.batch_size()) {
    const size_t count = std::min<size_t>(encoder.batch_size(), texts.size() - first);
    const at::Tensor features =
        encoder.EncodeTexts({texts.begin() + first, texts.begin() + first + count});
    CheckFinite(features, options.texts + ":" + std::to_string(first + 1));
    file.WriteTexts(first, count, features.const_data_ptr<float>());
  }
  file.Commit();
  return {layout.image_keys.size(), texts.size(), SystemClock().Monotonic() - start};
}

}  // namespace contrail::eval
