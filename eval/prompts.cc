#include "eval/prompts.h"

#include "common/error.h"
#include "common/escape.h"
#include "common/file_system.h"
#include "common/strings.h"
#include "data/caption.h"

namespace contrail::eval {
namespace {

constexpr const char* kClassNames = "classnames.txt";
constexpr const char* kTemplates = "zeroshot_classification_templates.txt";
constexpr const char* kLayout =
    "a zero-shot data set is a directory with *.tar shards (images with .cls), classnames.txt and "
    "zeroshot_classification_templates.txt";

std::vector<std::string> ReadLines(const std::string& path) {
  const FileSystem& fs = PosixFileSystem();
  if (!fs.Exists(path)) throw UserError("E-EVAL-DATASET", path, "no such file", kLayout);
  std::vector<std::string> lines;
  const std::string text = fs.ReadAll(path);
  data::RefuseWideText(text, path);
  for (const std::string& line : Split(text, '\n')) {
    lines.emplace_back(Trim(line));
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  if (lines.empty()) throw UserError("E-EVAL-DATASET", path, "the file is empty", kLayout);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!IsUtf8(lines[i])) {
      throw UserError("E-EVAL-DATASET", path + ":" + std::to_string(i + 1),
                      "'" + lines[i] + "' is no UTF-8 text", "save the file as UTF-8");
    }
    if (lines[i].empty()) {
      throw UserError("E-EVAL-DATASET", path + ":" + std::to_string(i + 1), "empty line",
                      "line n holds class or template n: leave no gaps");
    }
  }
  return lines;
}

std::vector<std::string> TarsIn(const std::string& dir) {
  std::vector<std::string> tars;
  for (const std::string& name : PosixFileSystem().List(dir)) {
    if (name.ends_with(".tar") && !name.starts_with(".")) tars.push_back(dir + "/" + name);
  }
  return tars;
}

// Where the name goes, and how long its mark is; npos where there is none.
std::pair<size_t, size_t> FindMark(const std::string& text) {
  for (const std::string mark : {"{}", "{c}"}) {
    const size_t at = text.find(mark);
    if (at != std::string::npos) return {at, mark.size()};
  }
  return {std::string::npos, 0};
}

}  // namespace

PromptSet ReadPrompts(const std::string& dataset_dir) {
  PromptSet prompts;
  prompts.class_names = ReadLines(dataset_dir + "/" + kClassNames);
  const std::string templates = dataset_dir + "/" + kTemplates;
  prompts.templates = ReadLines(templates);
  for (size_t i = 0; i < prompts.templates.size(); ++i) {
    if (FindMark(prompts.templates[i]).first == std::string::npos) {
      throw UserError("E-EVAL-DATASET", templates + ":" + std::to_string(i + 1),
                      "template '" + prompts.templates[i] + "' has no place for the class name",
                      "write {} where the name goes");
    }
  }
  return prompts;
}

std::vector<std::string> FindShards(const std::string& dataset_dir) {
  if (!PosixFileSystem().Exists(dataset_dir)) {
    throw UserError("E-EVAL-DATASET", dataset_dir, "no such directory", kLayout);
  }
  std::vector<std::string> shards = TarsIn(dataset_dir);
  if (shards.empty()) shards = TarsIn(dataset_dir + "/test");
  if (shards.empty()) throw UserError("E-EVAL-DATASET", dataset_dir, "holds no *.tar", kLayout);
  return shards;
}

std::string FillTemplate(const std::string& text, const std::string& class_name) {
  const auto [at, size] = FindMark(text);
  CONTRAIL_ASSERT(at != std::string::npos);
  return text.substr(0, at) + class_name + text.substr(at + size);
}

}  // namespace contrail::eval
