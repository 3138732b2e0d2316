#include "common/strings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "common/error.h"

namespace contrail {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

template <typename... Args>
std::string Format(const char* format, Args... args) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return buffer;
}

}  // namespace

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return out;
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string DidYouMean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string nearest = Nearest(word, candidates);
  return nearest.empty() ? "" : "did you mean '" + nearest + "'?";
}

std::string ExactDouble(double value) {
  if (std::isnan(value)) return "nan";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return std::string(buffer, end);
}

std::string HumanBytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return Format(unit == 0 || value >= 99.5 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
}

std::string HumanSeconds(double seconds) {
  if (seconds < 60) return Format(seconds < 9.95 ? "%.1f s" : "%.0f s", seconds);
  const auto total = static_cast<long>(std::lround(seconds));
  if (total < 3600) return Format("%ld min %ld s", total / 60, total % 60);
  return Format("%ld h %ld min", total / 3600, total % 3600 / 60);
}

std::vector<std::string> ExpandBraces(std::string_view pattern) {
  const size_t open = pattern.find('{');
  if (open == std::string_view::npos) return {std::string(pattern)};
  const auto bad = [&](std::string_view what) {
    return UserError("E-DATA-BRACES", pattern, what, "write a range as {000..009}");
  };
  const size_t close = pattern.find('}', open);
  if (close == std::string_view::npos) throw bad("'{' without '}'");
  const std::string_view inside = pattern.substr(open + 1, close - open - 1);
  const size_t dots = inside.find("..");
  if (dots == std::string_view::npos) throw bad("no '..' between the braces");
  const std::string_view low = inside.substr(0, dots);
  const std::string_view high = inside.substr(dots + 2);
  long first = 0;
  long last = 0;
  const auto parse = [](std::string_view text, long& out) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out);
    return code == std::errc() && end == text.data() + text.size() && out >= 0;
  };
  if (!parse(low, first) || !parse(high, last)) throw bad("the ends of a range are whole numbers");
  if (last < first) throw bad("the range runs backwards");
  if (last - first >= 10'000'000) throw bad("more than ten million names");
  std::vector<std::string> names;
  for (long i = first; i <= last; ++i) {
    std::string digits = std::to_string(i);
    if (digits.size() < low.size()) digits.insert(0, low.size() - digits.size(), '0');
    const std::string name =
        std::string(pattern.substr(0, open)) + digits + std::string(pattern.substr(close + 1));
    for (std::string& expanded : ExpandBraces(name)) names.push_back(std::move(expanded));
  }
  return names;
}

}  // namespace contrail
