#include "data/tokenizer.h"

#include <unicode/uchar.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <filesystem>
#include <unordered_map>

#include "common/error.h"
#include "data/bpe.h"
#include "data/caption.h"
#include "data/text_clean.h"
#include "data/utf8.h"

namespace contrail::data {
namespace {

enum class Kind : uint8_t { kGap, kLetter, kNumber, kOther };

Kind KindOf(char32_t c) {
  // U+0345 folds to a letter's case but is none: the reference's pattern matches it nowhere.
  if (c == ' ' || c == 0x345) return Kind::kGap;
  const uint32_t category = U_GET_GC_MASK(static_cast<UChar32>(c));
  if (category & U_GC_L_MASK) return Kind::kLetter;
  if (category & U_GC_N_MASK) return Kind::kNumber;
  return Kind::kOther;
}

// Walks cleaned text (lower case, single spaces).
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  bool AtEnd() const { return at_ >= text_.size(); }
  size_t at() const { return at_; }
  std::string_view rest() const { return text_.substr(at_); }
  std::string_view Since(size_t start) const { return text_.substr(start, at_ - start); }

  // Kind of the next character and where it ends.
  Kind Peek(size_t& end) const {
    const auto first = static_cast<unsigned char>(text_[at_]);
    if (first < 0x80) {
      end = at_ + 1;
      return kAscii[first];
    }
    end = at_;
    return KindOf(NextUtf8(text_, end));
  }
  void MoveTo(size_t at) { at_ = at; }

  // Bytes of `word` at the cursor, 0 where it does not stand there. Ignoring case lets the long s
  // (U+017F) pass for an s.
  size_t Match(std::string_view word) const {
    const std::string_view text = rest();
    size_t i = 0;
    for (const char c : word) {
      if (i < text.size() && text[i] == c) {
        ++i;
      } else if (c == 's' && text.substr(i).starts_with("\u017f")) {
        i += 2;
      } else {
        return 0;
      }
    }
    return i;
  }

 private:
  static constexpr std::array<Kind, 128> kAscii = [] {
    std::array<Kind, 128> kinds{};
    for (size_t c = 0; c < 128; ++c) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      const bool digit = c >= '0' && c <= '9';
      kinds[c] = letter                            ? Kind::kLetter
                 : digit                           ? Kind::kNumber
                 : c == ' ' || (c >= 9 && c <= 13) ? Kind::kGap
                                                   : Kind::kOther;
    }
    return kinds;
  }();
  std::string_view text_;
  size_t at_ = 0;
};

// The next word of the reference's pattern
//   <start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
// or an empty text at the end.
std::string_view NextWord(Cursor& cursor) {
  static constexpr std::string_view kFixed[] = {
      "<start_of_text>", "<end_of_text>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  size_t end = 0;
  Kind kind = Kind::kGap;
  while (!cursor.AtEnd() && (kind = cursor.Peek(end)) == Kind::kGap) cursor.MoveTo(end);
  if (cursor.AtEnd()) return {};
  const size_t start = cursor.at();
  const char first = cursor.rest()[0];
  if (first == '\'' || first == '<') {
    for (const std::string_view fixed : kFixed) {
      const size_t length = cursor.Match(fixed);
      if (length == 0) continue;
      cursor.MoveTo(start + length);
      return cursor.Since(start);
    }
  }
  cursor.MoveTo(end);
  if (kind == Kind::kNumber) return cursor.Since(start);
  while (!cursor.AtEnd() && cursor.Peek(end) == kind) cursor.MoveTo(end);
  return cursor.Since(start);
}

// Text that cleaning would only put into lower case: printable ASCII and white space without
// character references. Most captions are.
bool LowerPlain(std::string_view text, std::string& out) {
  out.resize(text.size());
  bool plain = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    plain &=
        c < 0x7f && (c >= 0x20 || c == '\n' || c == '\t' || c == '\r' || c == '\f') && c != '&';
    out[i] = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  }
  return plain;
}

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using WordCache = std::unordered_map<std::string, std::vector<int32_t>, TextHash, std::equal_to<>>;

class ClipTokenizer : public Tokenizer {
 public:
  explicit ClipTokenizer(const std::string& merges) : merges_(merges), serial_(NextSerial()) {}

  std::vector<int32_t> Encode(std::string_view text) const override {
    thread_local std::string clean;
    text = CutText(text, kMaxCaption);
    if (!LowerPlain(text, clean)) clean = CleanCaption(text);
    WordCache& cache = Cache();
    std::vector<int32_t> ids{kStartOfText};
    Cursor cursor(clean);
    while (ids.size() < kContextLength) {
      const std::string_view word = NextWord(cursor);
      if (word.empty()) break;
      if (word == "<end_of_text>") break;
      if (word.size() > kLongestRemembered) {
        const std::vector<int32_t> pieces = merges_.Encode(word);
        ids.insert(ids.end(), pieces.begin(), pieces.end());
        continue;
      }
      auto found = cache.find(word);
      if (found == cache.end()) found = Remember(cache, word);
      ids.insert(ids.end(), found->second.begin(), found->second.end());
    }
    if (ids.size() >= kContextLength) ids.resize(kContextLength - 1);
    ids.push_back(kEndOfText);
    return ids;
  }

 private:
  static uint64_t NextSerial() {
    static std::atomic<uint64_t> serial{0};
    return ++serial;
  }

  // One per thread, so no locks; it belongs to one tokenizer at a time.
  WordCache& Cache() const {
    thread_local uint64_t owner = 0;
    thread_local WordCache cache;
    if (owner != serial_ || cache.size() > kCacheWords) {
      cache.clear();
      owner = serial_;
    }
    return cache;
  }

  WordCache::iterator Remember(WordCache& cache, std::string_view word) const {
    std::vector<int32_t> ids =
        word == "<start_of_text>" ? std::vector<int32_t>{kStartOfText} : merges_.Encode(word);
    return cache.emplace(word, std::move(ids)).first;
  }

  static constexpr size_t kCacheWords = 100'000;  // some 10 MB a thread
  static constexpr size_t kLongestRemembered = 64;
  BytePairMerges merges_;
  uint64_t serial_;
};

}  // namespace

std::string ShippedMerges() {
  char path[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string program(path, n > 0 ? static_cast<size_t>(n) : 0);
  const std::filesystem::path bin = std::filesystem::path(program).parent_path();
  return (bin.parent_path() / "share/contrail/bpe_simple_vocab_16e6.txt.gz").string();
}

std::shared_ptr<const Tokenizer> Tokenizer::Load(const std::string& merges) {
  return std::make_shared<ClipTokenizer>(merges.empty() ? ShippedMerges() : merges);
}

}  // namespace contrail::data
