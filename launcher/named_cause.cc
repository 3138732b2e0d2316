#include "launcher/named_cause.h"

#include <algorithm>
#include <cctype>
#include <regex>

#include "common/strings.h"

namespace contrail::launcher {
namespace {

constexpr size_t kLongest = 400;  // characters

bool SaysAnything(const std::string& line) {
  return std::any_of(line.begin(), line.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0; });
}

bool SpeaksOfError(const std::string& line) {
  static const std::regex words(
      "error|cannot|can't|could not|unable|not found|no such|denied|refused|fail|unknown|terminate "
      "called|what\\(\\):|out of memory",
      std::regex::icase);
  // Where in its sources mpirun noticed is of no use to anybody else.
  static const std::regex places("ORTE_ERROR_LOG|FORCE-TERMINATE|PMIX ERROR");
  return SaysAnything(line) && std::regex_search(line, words) && !std::regex_search(line, places);
}

// mpirun frames its notices in lines of dashes.
bool IsFrame(const std::string& line) {
  return line.size() > 20 && line.find_first_not_of('-') == std::string::npos;
}

bool OfARank(const std::string& line) {
  static const std::regex tag("^rank \\d+: ");
  return std::regex_search(line, tag);
}

void Join(std::string& text, std::string_view more, std::string_view between) {
  if (!text.empty()) text += between;
  text += more;
}

// The first paragraph of the notice that begins at `at`, and what it lists as "Key: value".
std::string Notice(const std::deque<std::string>& lines, size_t at) {
  static const std::regex pair("^[A-Z][A-Za-z ]*: +\\S");
  std::string text;
  bool first = true;
  for (; at < lines.size() && !IsFrame(lines[at]); ++at) {
    const std::string line(Trim(lines[at]));
    if (line.empty()) {
      first = first && text.empty();
      while (!text.empty() && (text.back() == ':' || text.back() == '.')) text.pop_back();
    } else if (first) {
      Join(text, line, " ");
    } else if (std::regex_search(line, pair)) {
      Join(text, line, ", ");
    }
  }
  return text;
}

std::string Short(std::string text) {
  if (text.size() > kLongest) text = text.substr(0, kLongest) + " ...";
  return text;
}

}  // namespace

std::string CauseInMpirunsWords(const std::deque<std::string>& lines) {
  std::deque<std::string> own;
  for (const std::string& line : lines) {
    if (!OfARank(line)) own.push_back(line);
  }
  for (size_t i = 0; i < own.size(); ++i) {
    if (IsFrame(own[i])) {
      if (std::string notice = Notice(own, i + 1); !notice.empty()) return Short(notice);
    } else if (SpeaksOfError(own[i])) {
      return Short(std::string(Trim(own[i])));
    }
  }
  const auto last = std::find_if(own.rbegin(), own.rend(), SaysAnything);
  return last == own.rend() ? "" : Short(std::string(Trim(*last)));
}

std::string CauseInRanksWords(const std::deque<std::string>& lines, int rank) {
  const std::string tag = "rank " + std::to_string(rank) + ": ";
  std::string last, error;
  for (const std::string& line : lines) {
    if (!line.starts_with(tag)) continue;
    const std::string text(Trim(std::string_view(line).substr(tag.size())));
    if (SaysAnything(text)) last = text;
    if (SpeaksOfError(text)) error = text;
  }
  return Short(error.empty() ? last : error);
}

}  // namespace contrail::launcher
