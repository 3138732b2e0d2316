// Pictures that lie in files of their own: a folder with captions beside them, or a table of paths
// and captions. Files are copied as they are.

#include <cstdio>
#include <filesystem>
#include <optional>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/strings.h"
#include "data/caption.h"
#include "data/csv.h"
#include "data/pack.h"
#include "data/permutation.h"
#include "data/picture_folder.h"

namespace contrail::data {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kOrderPurpose = 0x666f6c646572;  // keeps these draws apart from all others

std::string ReadPicture(const std::string& path, const std::string& where) {
  if (!PosixFileSystem().Exists(path)) {
    throw UserError("E-DATA-MISSING", where, "no such file: " + path);
  }
  return PosixFileSystem().ReadAll(path);
}

// File names may hold dots and slashes, which mean something in a tar: keys are numbers, the name
// goes into the .json.
PackSample NumberedSample(uint64_t number, const std::string& source) {
  char key[24];
  std::snprintf(key, sizeof key, "%09llu", static_cast<unsigned long long>(number));
  PackSample sample;
  sample.key = key;
  sample.json = nlohmann::json{{"source", source}}.dump(-1, ' ', false,
                                                        nlohmann::json::error_handler_t::replace);
  return sample;
}

class FolderSource : public PackSource {
 public:
  explicit FolderSource(const PackOptions& options)
      : folder_(options.folder), caption_key_(ParseCaptionKey(options.caption_key)) {
    std::error_code error;
    if (!fs::is_directory(folder_, error)) {
      throw UserError("E-DATA-MISSING", options.folder, "no such folder", "check the path");
    }
    PictureFolder found = ListPictures(options.folder);
    pictures_ = std::move(found.pictures);
    notes_.left_out = found.left_out;
    // Sorted names are sorted classes, and shards of one class each make batches of few classes.
    if (!pictures_.empty()) shuffled_.emplace(options.seed ^ kOrderPurpose, 0, 0, pictures_.size());
  }

  bool Next(PackSample& sample) override {
    if (next_ == pictures_.size()) return false;
    const std::string& name = pictures_[(*shuffled_)(next_)];
    const fs::path picture = folder_ / name;
    sample = NumberedSample(next_++, name);
    sample.extension = ExtensionOf(name);
    sample.image = ReadPicture(picture.string(), picture.string());
    if (const auto caption = CaptionOf(picture)) {
      sample.caption = *caption;
      sample.has_caption = true;
    }
    if (const auto label = Beside(picture, ".cls")) sample.label = *label;
    if (!sample.has_caption && sample.label.empty()) {
      throw UserError("E-DATA-CAPTION", picture.string(), "a picture without a caption",
                      "put its text into " + fs::path(picture).replace_extension(".txt").string());
    }
    return true;
  }

 private:
  std::optional<std::string> CaptionOf(const fs::path& picture) {
    const bool json = !caption_key_.json_field.empty();
    const char* const extension = json ? ".json" : ".txt";
    std::optional<std::string> text = Beside(picture, extension);
    if (!text) return std::nullopt;
    const std::string where = fs::path(picture).replace_extension(extension).string();
    if (json) *text = JsonCaption(*text, caption_key_.json_field, where);
    NoteCaption(*text, where);
    return text;
  }

  static std::optional<std::string> Beside(fs::path path, const char* extension) {
    path.replace_extension(extension);
    if (!PosixFileSystem().Exists(path.string())) return std::nullopt;
    return std::string(Trim(PosixFileSystem().ReadAll(path.string())));
  }

  const fs::path folder_;
  const CaptionKey caption_key_;
  std::vector<std::string> pictures_;  // relative, sorted
  std::optional<Permutation> shuffled_;
  size_t next_ = 0;
};

// Column names of common data sets; the first that occurs counts.
const std::vector<std::string> kPathColumns = {"filepath", "path", "image", "file", "file_name"};
const std::vector<std::string> kCaptionColumns = {"title", "caption", "text"};

class CsvSource : public PackSource {
 public:
  explicit CsvSource(const PackOptions& options)
      : folder_(fs::path(options.csv).parent_path()), table_(options.csv) {
    path_column_ = table_.Column(kPathColumns);
    caption_column_ = table_.Column(kCaptionColumns);
  }

  bool Next(PackSample& sample) override {
    std::vector<std::string> row;
    if (!table_.Next(row)) return false;
    const std::string& name = row[path_column_];
    const fs::path picture = folder_ / name;
    const std::string extension = ExtensionOf(name);
    if (!IsPictureExtension(extension)) {
      throw UserError("E-DATA-CSV", table_.where(),
                      "'" + name + "' is no .jpg, .jpeg, .png or .webp",
                      "the column '" + table_.header()[path_column_] + "' holds image paths");
    }
    sample = NumberedSample(next_++, name);
    sample.extension = extension;
    sample.image = ReadPicture(picture.string(), table_.where());
    sample.caption = row[caption_column_];
    NoteCaption(sample.caption, table_.where());
    sample.has_caption = true;
    return true;
  }

 private:
  const fs::path folder_;  // paths in the table are relative to it
  CsvReader table_;
  size_t path_column_ = 0;
  size_t caption_column_ = 0;
  uint64_t next_ = 0;
};

}  // namespace

std::unique_ptr<PackSource> OpenFolderSource(const PackOptions& options) {
  return std::make_unique<FolderSource>(options);
}

std::unique_ptr<PackSource> OpenCsvSource(const PackOptions& options) {
  return std::make_unique<CsvSource>(options);
}

}  // namespace contrail::data
