// Pictures that lie in files of their own: a folder with captions beside them, or a table of paths
// and captions. Files are copied as they are.

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <optional>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/strings.h"
#include "data/csv.h"
#include "data/pack.h"
#include "data/permutation.h"

namespace contrail::data {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kOrderPurpose = 0x666f6c646572;  // keeps these draws apart from all others

// "jpg", "jpeg", "png"; nothing for another kind of file.
std::optional<std::string> PictureExtension(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (extension == ".jpg" || extension == ".jpeg" || extension == ".png") {
    return extension.substr(1);
  }
  return std::nullopt;
}

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
  explicit FolderSource(const PackOptions& options) : folder_(options.folder) {
    std::error_code error;
    if (!fs::is_directory(folder_, error)) {
      throw UserError("E-DATA-MISSING", options.folder, "no such folder", "check the path");
    }
    try {
      const auto walk = fs::directory_options::follow_directory_symlink;
      for (const auto& entry : fs::recursive_directory_iterator(folder_, walk)) {
        if (entry.is_regular_file() && PictureExtension(entry.path())) {
          pictures_.push_back(entry.path().lexically_relative(folder_).string());
        }
      }
    } catch (const fs::filesystem_error& cause) {
      throw EnvironmentError("E-IO", options.folder, cause.what());
    }
    std::sort(pictures_.begin(), pictures_.end());
    // Sorted names are sorted classes, and shards of one class each make batches of few classes.
    if (!pictures_.empty()) shuffled_.emplace(options.seed ^ kOrderPurpose, 0, 0, pictures_.size());
  }

  bool Next(PackSample& sample) override {
    if (next_ == pictures_.size()) return false;
    const std::string& name = pictures_[(*shuffled_)(next_)];
    const fs::path picture = folder_ / name;
    sample = NumberedSample(next_++, name);
    sample.extension = *PictureExtension(picture);
    sample.image = ReadPicture(picture.string(), picture.string());
    if (const auto caption = Beside(picture, ".txt")) {
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
  static std::optional<std::string> Beside(fs::path path, const char* extension) {
    path.replace_extension(extension);
    if (!PosixFileSystem().Exists(path.string())) return std::nullopt;
    return std::string(Trim(PosixFileSystem().ReadAll(path.string())));
  }

  const fs::path folder_;
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
    const std::optional<std::string> extension = PictureExtension(picture);
    if (!extension) {
      throw UserError("E-DATA-CSV", table_.where(), "'" + name + "' is no .jpg, .jpeg or .png",
                      "the column '" + table_.header()[path_column_] + "' holds image paths");
    }
    sample = NumberedSample(next_++, name);
    sample.extension = *extension;
    sample.image = ReadPicture(picture.string(), table_.where());
    sample.caption = row[caption_column_];
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
