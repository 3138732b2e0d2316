#pragma once
// Where a sample's caption stands, and what may be wrong with texts.

#include <cstdint>
#include <string>
#include <string_view>

namespace contrail::data {

// Bytes of a caption that are looked at: 77 tokens need at most 77 of the vocabulary's longest
// pieces (32 bytes), and a character reference of HTML makes a letter of a few dozen.
inline constexpr uint64_t kMaxCaption = 8192;

// `data.caption_key`: "txt", or "json:FIELD" for a text of that name in the sample's .json.
struct CaptionKey {
  std::string json_field;  // "" for the .txt
};

// Throws UserError E-DATA-CAPTION-KEY.
CaptionKey ParseCaptionKey(std::string_view key);

// The text of `field` in a .json's object, cut to kMaxCaption; "" where it is not there or no text.
// Throws UserError E-DATA-JSON, naming `sample`, where the text is no JSON object.
std::string JsonCaption(std::string_view json, const std::string& field, std::string_view sample);

struct MissingCaptions {
  uint64_t count = 0;
  uint64_t of = 0;    // samples that were looked at
  std::string first;  // key of a sample without
  double share() const {
    return of == 0 ? 0 : static_cast<double>(count) / static_cast<double>(of);
  }
};

// Throws UserError E-DATA-NO-CAPTIONS where more than `limit` (a share) of the captions are
// missing. `where` names the key or option that sets the limit.
void CheckMissingCaptions(const MissingCaptions& missing, double limit, std::string_view where);

// The text without a part of a character at its end, at most `most` bytes.
std::string_view CutText(std::string_view text, size_t most);

// "" for UTF-8, else what the bytes look like: "UTF-16", "UTF-32", "no UTF-8, perhaps
// Windows-1252". A text that was cut may end inside a character.
std::string_view OtherEncoding(std::string_view text);

// OtherEncoding, but for what no part of can be used: throws UserError E-DATA-ENCODING where `text`
// is UTF-16 or UTF-32. `where` names file, line or sample.
std::string_view RefuseWideText(std::string_view text, std::string_view where);

}  // namespace contrail::data
