#include "data/left_out.h"

#include <algorithm>
#include <charconv>

#include "common/strings.h"

namespace contrail::data {
namespace {

// Other spellings of the kinds.
std::string_view KindOf(std::string_view extension) {
  if (extension == "tif") return "tiff";
  if (extension == "heif") return "heic";
  if (extension == "j2k") return "jp2";
  return extension;
}

constexpr std::string_view kDots = "dots";

}  // namespace

bool IsPictureExtension(std::string_view extension) {
  return extension == "jpg" || extension == "jpeg" || extension == "png" || extension == "webp";
}

bool LeftOut::Any() const {
  return groups > 0 || std::any_of(pictures.begin(), pictures.end(), [](auto n) { return n > 0; });
}

void LeftOut::Add(const LeftOut& other) {
  groups += other.groups;
  for (size_t i = 0; i < pictures.size(); ++i) pictures[i] += other.pictures[i];
}

void CountLeftOut(std::string_view extension, LeftOut& counts) {
  const size_t dot = extension.rfind('.');
  std::string_view kind = KindOf(extension.substr(dot == std::string_view::npos ? 0 : dot + 1));
  if (dot != std::string_view::npos && IsPictureExtension(kind)) kind = kDots;
  const auto found = std::find(kLeftOutKinds.begin(), kLeftOutKinds.end(), kind);
  if (found == kLeftOutKinds.end()) return;
  if (kind == kDots && extension == kDots) return;  // a name that ends in ".dots"
  ++counts.pictures[static_cast<size_t>(found - kLeftOutKinds.begin())];
}

std::string Describe(const LeftOut& counts) {
  std::vector<std::string> parts;
  if (counts.groups > 0) {
    parts.push_back(std::to_string(counts.groups) + (counts.groups == 1 ? " group" : " groups") +
                    " without a picture");
  }
  for (size_t i = 0; i < kLeftOutKinds.size(); ++i) {
    if (counts.pictures[i] == 0) continue;
    parts.push_back(std::to_string(counts.pictures[i]) +
                    (kLeftOutKinds[i] == kDots ? std::string(" with several dots in the name")
                                               : " ." + std::string(kLeftOutKinds[i])));
  }
  return Join(parts, ", ");
}

std::string FieldOf(const LeftOut& counts) {
  std::string text = "groups:" + std::to_string(counts.groups);
  for (size_t i = 0; i < kLeftOutKinds.size(); ++i) {
    if (counts.pictures[i] == 0) continue;
    text += "," + std::string(kLeftOutKinds[i]) + ":" + std::to_string(counts.pictures[i]);
  }
  return text;
}

bool ParseLeftOut(std::string_view field, LeftOut& counts) {
  for (const std::string& part : Split(field, ',')) {
    const size_t colon = part.find(':');
    if (colon == std::string::npos) return false;
    uint64_t count = 0;
    const char* const end = part.data() + part.size();
    const auto [at, code] = std::from_chars(part.data() + colon + 1, end, count);
    if (code != std::errc() || at != end) return false;
    const std::string_view name = std::string_view(part).substr(0, colon);
    const auto found = std::find(kLeftOutKinds.begin(), kLeftOutKinds.end(), name);
    if (name == "groups") counts.groups = count;
    if (found != kLeftOutKinds.end()) {
      counts.pictures[static_cast<size_t>(found - kLeftOutKinds.begin())] = count;
    }
  }
  return true;
}

}  // namespace contrail::data
