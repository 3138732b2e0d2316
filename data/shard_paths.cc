#include <glob.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/file_system.h"
#include "common/strings.h"
#include "data/dataset.h"

namespace contrail::data {
namespace {

// The files that a pattern of the shell's kind matches, sorted.
std::vector<std::string> Matches(const std::string& pattern) {
  glob_t found{};
  const int code = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  std::vector<std::string> paths(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  if (code == 0) return paths;
  throw UserError("E-DATA-MISSING", pattern,
                  code == GLOB_NOMATCH ? "no file matches this pattern"
                                       : "the folders of this pattern cannot all be read",
                  "check the path; patterns are not those of regular expressions");
}

bool IsDirectory(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool IsThere(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

void AddTarsOf(const std::string& path, std::vector<std::string>& paths) {
  // Of tens of thousands of shards, nobody is asked whether it is a folder.
  if (path.ends_with(".tar") || !IsDirectory(path)) {
    paths.push_back(path);
    return;
  }
  for (const std::string& name : PosixFileSystem().List(path)) {
    if (name.ends_with(".tar") && !name.starts_with(".")) paths.push_back(path + "/" + name);
  }
}

}  // namespace

std::vector<std::string> ShardPaths(const std::vector<std::string>& patterns,
                                    const std::function<void()>& looked) {
  std::vector<std::string> paths;
  for (const std::string& pattern : patterns) {
    for (const std::string& path : ExpandBraces(pattern)) {
      if (looked) looked();
      if (path.find_first_of("*?[") == std::string::npos || IsThere(path)) {
        AddTarsOf(path, paths);
        continue;
      }
      for (const std::string& match : Matches(path)) AddTarsOf(match, paths);
    }
  }
  return paths;
}

std::vector<std::string> ShardPatterns(const std::string& text) {
  const auto means_something = [](const std::string& pattern) {
    try {
      for (const std::string& path : ShardPaths({pattern})) {
        if (!IsThere(path)) return false;
      }
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  if (means_something(text)) return {text};
  std::vector<std::string> patterns;
  for (const std::string& pattern : Split(text, ' ')) {
    if (!pattern.empty()) patterns.push_back(pattern);
  }
  return patterns;
}

}  // namespace contrail::data
