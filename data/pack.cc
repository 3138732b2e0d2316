#include "data/pack.h"

#include "common/error.h"
#include "common/strings.h"
#include "data/caption.h"
#include "data/names.h"
#include "data/shard_writer.h"

namespace contrail::data {
namespace {

std::unique_ptr<PackSource> OpenSource(const PackOptions& options, const PackNames& names) {
  const bool idx = !options.images.empty() || !options.labels.empty();
  const int given = int{idx} + int{!options.folder.empty()} + int{!options.csv.empty()};
  if (given != 1) {
    throw UserError("E-DATA-SOURCE", "data pack",
                    given == 0 ? "no source given" : "more than one source given",
                    "give one of --images with --labels, --folder, --csv");
  }
  if (idx) return OpenIdxSource(options, names);
  return options.folder.empty() ? OpenCsvSource(options) : OpenFolderSource(options);
}

// Under the names that CLIP_benchmark and `contrail eval zero-shot` look for.
void AddNames(const PackNames& names, ShardWriter& writer) {
  if (names.classes.empty()) return;
  writer.AddFile("classnames.txt", Join(names.classes, "\n") + "\n");
  if (names.templates.empty()) return;
  std::string text;
  for (const std::string& line : names.templates) {
    text += FillTemplate(line, "{c}") + "\n";
  }
  writer.AddFile("zeroshot_classification_templates.txt", text);
}

}  // namespace

void PackSource::NoteCaption(const std::string& text, const std::string& where) {
  if (Trim(text).empty() && notes_.empty++ == 0) notes_.first_empty = where;
  if (RefuseWideText(text, where).empty()) return;
  if (notes_.not_utf8++ == 0) notes_.first_not_utf8 = where;
}

PackResult Pack(FileSystem& files, const PackOptions& options) {
  CONTRAIL_ASSERT(options.shard_samples > 0);
  RefuseExisting(files, options);
  PackNames names;
  if (!options.classes.empty()) names.classes = ReadClassNames(options.classes);
  if (!options.templates.empty()) names.templates = ReadTemplates(options.templates);
  const std::unique_ptr<PackSource> source = OpenSource(options, names);
  PackSample sample;
  if (!source->Next(sample)) {
    throw UserError("E-DATA-EMPTY", options.folder + options.csv + options.images,
                    "no picture to pack");
  }
  ShardWriter writer(files, options);
  uint64_t written = 0;
  do {
    writer.Add(sample);
    if (++written == options.limit) break;
  } while (source->Next(sample));
  AddNames(names, writer);
  PackResult result = writer.Commit();
  result.notes = source->notes();
  return result;
}

}  // namespace contrail::data
