#include "data/caption.h"

#include <algorithm>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "data/utf8.h"

namespace contrail::data {
namespace {

// True where `depth` is never exceeded: the parser's own recursion has no limit.
bool IsShallow(std::string_view json, int most) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > most) return false;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return true;
}

bool IsUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    if (NextUtf8(text, at) != 0xfffd) continue;
    if (text.substr(start, at - start) == "\xef\xbf\xbd") continue;  // U+FFFD itself
    const bool cut = text.size() >= kMaxCaption && text.size() - start < 4;
    return cut;
  }
  return true;
}

}  // namespace

CaptionKey ParseCaptionKey(std::string_view key) {
  constexpr std::string_view kJson = "json:";
  if (key == "txt") return {};
  if (key.starts_with(kJson) && key.size() > kJson.size()) {
    return {std::string(key.substr(kJson.size()))};
  }
  throw UserError("E-DATA-CAPTION-KEY", "data.caption_key",
                  "'" + std::string(key) + "' is no place",
                  "use \"txt\", or \"json:FIELD\" for a field of each sample's .json");
}

std::string JsonCaption(std::string_view json, const std::string& field, std::string_view sample) {
  constexpr int kMostNested = 64;
  const nlohmann::json object =
      IsShallow(json, kMostNested)
          ? nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false)
          : nlohmann::json(nlohmann::json::value_t::discarded);
  if (!object.is_object()) {
    throw UserError("E-DATA-JSON", sample, "its .json holds no JSON object",
                    "repair or remove the sample");
  }
  const auto found = object.find(field);
  if (found == object.end() || !found->is_string()) return "";
  return std::string(CutText(found->get_ref<const std::string&>(), kMaxCaption));
}

void CheckMissingCaptions(const MissingCaptions& missing, double limit, std::string_view where) {
  if (missing.share() <= limit) return;
  char share[32];
  std::snprintf(share, sizeof share, "%.3g %%", 100 * missing.share());
  char most[32];
  std::snprintf(most, sizeof most, "%.3g %%", 100 * limit);
  throw UserError(
      "E-DATA-NO-CAPTIONS", where,
      std::to_string(missing.count) + " of " + std::to_string(missing.of) +
          " samples have no caption (" + share + ", more than " + most + "), first " +
          missing.first,
      "a caption is a .txt of the picture's name in the same folder of the tar, or what "
      "data.caption_key says; raise data.max_empty_captions to train on empty texts");
}

std::string_view CutText(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  size_t end = most;
  while (end > 0 && end + 4 > most && (text[end] & '\xc0') == '\x80') --end;
  return text.substr(0, end);
}

std::string_view OtherEncoding(std::string_view text) {
  using namespace std::string_view_literals;
  if (text.starts_with("\xff\xfe\0\0"sv) || text.starts_with("\0\0\xfe\xff"sv)) return "UTF-32";
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) return "UTF-16";
  const auto zeros = std::count(text.begin(), text.end(), '\0');
  if (text.size() >= 4 && zeros * 3 > std::ssize(text)) return "UTF-16 without its mark";
  if (!IsUtf8(text)) return "not UTF-8, perhaps Windows-1252";
  return "";
}

std::string_view RefuseWideText(std::string_view text, std::string_view where) {
  const std::string_view other = OtherEncoding(text);
  if (!other.starts_with("UTF")) return other;
  throw UserError("E-DATA-ENCODING", where, "the text is " + std::string(other),
                  "write it as UTF-8: iconv -f " + std::string(other.substr(0, 6)) + " -t UTF-8");
}

}  // namespace contrail::data
