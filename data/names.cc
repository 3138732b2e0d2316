#include "data/names.h"

#include <algorithm>

#include "common/error.h"
#include "common/file_system.h"
#include "common/strings.h"
#include "data/caption.h"

namespace contrail::data {
namespace {

struct Line {
  std::string where;  // file:line
  std::string text;
};

std::vector<Line> ReadLines(const std::string& path, const std::string& what) {
  std::string text;
  try {
    text = PosixFileSystem().ReadAll(path);
  } catch (const Error&) {
    throw UserError("E-DATA-NAMES", path, "cannot read the " + what, "check the path");
  }
  RefuseWideText(text, path);
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);  // a byte-order mark
  std::vector<Line> lines;
  size_t number = 0;
  for (const std::string& raw : Split(text, '\n')) {
    ++number;
    const std::string_view line = Trim(raw);
    if (!line.empty()) lines.push_back({path + ":" + std::to_string(number), std::string(line)});
  }
  if (lines.empty()) throw UserError("E-DATA-NAMES", path, "no " + what + " in it", "one a line");
  return lines;
}

}  // namespace

std::vector<std::string> ReadClassNames(const std::string& path) {
  std::vector<std::string> names;
  for (const Line& line : ReadLines(path, "class names")) {
    if (std::find(names.begin(), names.end(), line.text) != names.end()) {
      throw UserError("E-DATA-NAMES", line.where, "class '" + line.text + "' stands there twice",
                      "give each class its own name");
    }
    names.push_back(line.text);
  }
  return names;
}

std::vector<std::string> ReadTemplates(const std::string& path) {
  std::vector<std::string> templates;
  for (const Line& line : ReadLines(path, "caption templates")) {
    std::string text = line.text;
    const size_t benchmark_place = text.find("{c}");
    if (benchmark_place != std::string::npos) text.replace(benchmark_place, 3, "{}");
    if (text.find("{}") == std::string::npos) {
      throw UserError("E-DATA-NAMES", line.where, "a template without {}",
                      "write {} where the class name goes");
    }
    templates.push_back(text);
  }
  return templates;
}

std::string FillTemplate(std::string_view text, std::string_view class_name) {
  std::string out(text);
  const size_t place = out.find("{}");
  if (place != std::string::npos) out.replace(place, 2, class_name);
  return out;
}

}  // namespace contrail::data
