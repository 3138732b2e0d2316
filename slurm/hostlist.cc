#include "slurm/hostlist.h"

#include <charconv>

#include "common/error.h"
#include "common/strings.h"

namespace contrail::slurm {
namespace {

constexpr size_t kMaxNames = 65536;

Error IllFormed(std::string_view text, const std::string& what) {
  return UserError("E-SLURM-HOSTLIST", "'" + std::string(text) + "'", what,
                   "expected a host list such as node[1-3,7]");
}

uint64_t Number(std::string_view digits, std::string_view whole) {
  uint64_t value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || digits.size() > 9 || result.ec != std::errc() ||
      result.ptr != digits.data() + digits.size()) {
    throw IllFormed(whole, "'" + std::string(digits) + "' is not a number");
  }
  return value;
}

std::string Padded(uint64_t value, size_t width) {
  std::string text = std::to_string(value);
  return text.size() < width ? std::string(width - text.size(), '0') + text : text;
}

// "1-3,07" -> 1 2 3 07
std::vector<std::string> ExpandGroup(std::string_view group, std::string_view whole) {
  std::vector<std::string> out;
  for (const std::string& range : Split(group, ',')) {
    const size_t dash = range.find('-');
    const std::string first = range.substr(0, dash);
    const std::string last = dash == std::string::npos ? first : range.substr(dash + 1);
    const uint64_t low = Number(first, whole);
    const uint64_t high = Number(last, whole);
    if (low > high) throw IllFormed(whole, "range '" + range + "' runs backwards");
    if (high - low >= kMaxNames) throw IllFormed(whole, "range '" + range + "' is too long");
    for (uint64_t value = low; value <= high; ++value) out.push_back(Padded(value, first.size()));
  }
  return out;
}

// One name with any number of groups.
std::vector<std::string> ExpandName(std::string_view name, std::string_view whole) {
  std::vector<std::string> out = {""};
  while (!name.empty()) {
    const size_t open = name.find('[');
    const std::string_view plain = name.substr(0, open);
    if (plain.find(']') != plain.npos) throw IllFormed(whole, "']' without '['");
    for (std::string& prefix : out) prefix += plain;
    if (open == name.npos) break;
    const size_t close = name.find(']', open);
    if (close == name.npos) throw IllFormed(whole, "'[' is never closed");
    const auto group = ExpandGroup(name.substr(open + 1, close - open - 1), whole);
    if (out.size() * group.size() > kMaxNames) throw IllFormed(whole, "too many names");
    std::vector<std::string> longer;
    longer.reserve(out.size() * group.size());
    for (const std::string& prefix : out) {
      for (const std::string& value : group) longer.push_back(prefix + value);
    }
    out = std::move(longer);
    name.remove_prefix(close + 1);
  }
  return out;
}

}  // namespace

std::vector<std::string> ExpandHostList(std::string_view text) {
  std::vector<std::string> out;
  size_t start = 0;
  int depth = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size()) {
      if (text[i] == '[') ++depth;
      if (text[i] == ']') --depth;
      if (text[i] != ',' || depth > 0) continue;
    }
    const std::string_view name = Trim(text.substr(start, i - start));
    start = i + 1;
    if (name.empty()) {
      if (text.empty()) break;
      throw IllFormed(text, "an empty name");
    }
    for (std::string& host : ExpandName(name, text)) out.push_back(std::move(host));
    if (out.size() > kMaxNames) throw IllFormed(text, "too many names");
  }
  return out;
}

}  // namespace contrail::slurm
