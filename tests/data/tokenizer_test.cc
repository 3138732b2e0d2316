// The tokenizer against open_clip's own, id for id.

#include "data/tokenizer.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "common/rng.h"
#include "common/strings.h"
#include "data/html_entities.h"
#include "data/text_clean.h"
#include "data/utf8.h"
#include "tests/data/helpers.h"

namespace contrail::data {
namespace {

using testing::HasSubstr;

const std::string kMerges = CONTRAIL_BINARY_DIR "/share/contrail/bpe_simple_vocab_16e6.txt.gz";

const Tokenizer& Clip() {
  static const std::shared_ptr<const Tokenizer> tokenizer = Tokenizer::Load(kMerges);
  return *tokenizer;
}

// Pieces that captions are made of; each list is one kind of trouble.
const std::vector<std::vector<std::string>> kPieces = {
    {"a", "photo", "of", "the", "Eiffel", "Tower", "at", "NIGHT", "iPhone", "bokeh", "portrait",
     "grayscale", "unbelievably", "floccinaucinihilipilification", "t-shirt/top", "ankle boot"},
    {"don't", "she's", "WE'RE", "they'll", "I'd", "you've", "I'm", "rock'n'roll", "'s", "'tis",
     "dogs'", "O'Neil", "''", "'", "it's'm"},
    {"!",   "?!",          "...",        "--",    "(c)",
     "[x]", "{y}",         "#tag",       "@user", "http://a.b/c?d=e&f=g",
     "50%", "$5",          "a_b",        "~",     "^_^",
     "\\",  "|",           "\"quoted\"", "``",    "+/-",
     "*",   "<b>bold</b>", ";)"},
    {"0", "7", "42", "2024", "3.14", "1,000,000", "12:30", "1st", "mp3", "№5", "½", "Ⅷ", "²", "٣٤",
     "४२", "①"},
    {"café", "naïve", "Ångström", "Łódź", "señor", "façade", "Übermut", "straße", "smørrebrød",
     "İstanbul", "ıspanak", "cafe\u0301", "A\u030angstro\u0308m", "Đorđe", "ÆSIR", "œuvre"},
    {"写真", "東京タワー", "カメラ", "ひらがな", "한국어", "사진", "香港", "ﾊﾝｶｸ", "ＦＵＬＬ",
     "１２３", "，", "。", "「引用」", "가\u11a8"},
    {"😀", "🎉🎉", "👩‍👩‍👧", "🏳️‍🌈", "❤️", "🇩🇪", "👍🏽", "☕", "™", "©",
     "→", "∑", "♥", "𝓐𝓑", "🫠"},
    {"Москва", "фото", "КРАСНАЯ", "площадь", "Ελλάδα", "ΟΔΟΣ", "ΣΊΣΥΦΟΣ", "Σ", "العربية", "مُحَمَّد",
     "ภาษาไทย", "ไทย", "עברית", "हिन्दी", "தமிழ்", "ქართული", "Հայաստան", "አማርኛ"},
    {"&amp;",        "&lt;p&gt;", "&quot;hi&quot;",
     "&#39;",        "&#x27;",    "&eacute;",
     "P&EACUTE;REZ", "&amp;amp;", "&amp;lt;",
     "&nbsp;",       "&notit;",   "&notin;",
     "&copy",        "&hellip;",  "&#128512;",
     "&#150;",       "&#0;",      "&#xD800;",
     "&#x1F600",     "&bogus;",   "&",
     "& ",           "AT&T",      "&;",
     "&#;",          "&#x;",      "&CounterClockwiseContourIntegral;",
     "&ampx",        "&thinsp;",  "&NewLine;",
     "&#59;",        "&#13;"},
    {"\t",     "\n",     "\r\n", "\r",   "\u00a0", "\u2003", "\u2028",
     "\u2029", "\u3000", "\f",   "\v",   "\x1c",   "\u200b", "\u200d",
     "\ufeff", "\u00ad", "\x01", "\x7f", "\u206a", "\u202e", "\u1680"},
    {"“curly”", "it’s", "‘a’",    "‚b‛",          "„low“", "ﬁne", "ﬂower", "oﬃce", "ĳs",
     "ŉ",       "Ǆ",    "ﬅ",      "\u02bc",       "–",     "—",   "…",     "ſ",    "'ſ",
     "ª",       "µ",    "\u0345", "\u03b1\u0345", "\u1e9e"},
    {"<start_of_text>", "<end_of_text>", "<START_OF_TEXT>", "<|startoftext|>", "</w>", "a</w>",
     "<end_of_text>x", "<start_of", "<\u017ftart_of_text>", "\x1b[31mred\x1b[0m", "\x1b[", "\x1b"}};

std::vector<std::string> Corpus() {
  std::vector<std::string> texts = {"", " ", "a", "A photo of a cat."};
  for (const auto& pieces : kPieces) {
    for (const std::string& piece : pieces) {
      texts.push_back(piece);
      texts.push_back("x" + piece + "y");
      texts.push_back(piece + piece + " " + piece);
    }
  }
  RandomStream draws(14, 0, 0);
  const auto piece = [&] {
    const auto& pieces = kPieces[draws.NextBelow(kPieces.size())];
    return pieces[draws.NextBelow(pieces.size())];
  };
  for (int i = 0; i < 2500; ++i) {
    std::string text;
    const uint64_t length = 1 + draws.NextBelow(i % 10 == 0 ? 120 : 12);
    for (uint64_t n = 0; n < length; ++n) {
      text += piece();
      if (draws.NextBelow(4) != 0) text += ' ';
    }
    texts.push_back(text);
  }
  // Any characters of some blocks, assigned in every version of Unicode the reference may know.
  const std::pair<uint32_t, uint32_t> blocks[] = {
      {0x20, 0x7e},     {0x100, 0x17f},   {0x391, 0x3a1},   {0x3a3, 0x3c9},   {0x400, 0x4ff},
      {0x5d0, 0x5ea},   {0x621, 0x64a},   {0xe01, 0xe30},   {0x1e00, 0x1eff}, {0x2190, 0x23ff},
      {0x3041, 0x3096}, {0x4e00, 0x9fa5}, {0xac00, 0xd7a3}, {0xff01, 0xff5e}, {0x1f300, 0x1f5ff}};
  for (int i = 0; i < 800; ++i) {
    std::string text;
    const auto [low, high] = blocks[draws.NextBelow(std::size(blocks))];
    for (uint64_t n = 1 + draws.NextBelow(30); n > 0; --n) {
      AppendUtf8(low + static_cast<char32_t>(draws.NextBelow(high - low + 1)), text);
      if (draws.NextBelow(5) == 0) text += ' ';
    }
    texts.push_back(text);
  }
  texts.push_back(std::string(5000, 'z'));
  texts.push_back(std::string(3000, '!') + " tail");
  std::string long_text;
  for (int i = 0; i < 1000; ++i)
    long_text += "a very long caption number " + std::to_string(i) + " ";
  texts.push_back(long_text);
  return texts;
}

class TokenizerReference : public ScratchTest {};

TEST_F(TokenizerReference, SameIdsAsOpenClip) {
  const std::vector<std::string> texts = Corpus();
  ASSERT_GT(texts.size(), 3500u);
  std::string bytes;
  for (const std::string& text : texts) bytes += text + '\0';
  Write("texts", bytes);
  // fix_encoding guesses at wrongly decoded text; that repair is not made here (text_clean.h).
  const std::string output = Python(R"(
import sys, functools, ftfy
ftfy.fix_text = functools.partial(ftfy.fix_text, fix_encoding=False)
from open_clip import get_tokenizer
tokenizer = get_tokenizer("ViT-B-32")
texts = open(sys.argv[1], "rb").read().decode().split("\0")[:-1]
for row in tokenizer(texts).tolist():
    print(*row[:row.index(49407) + 1])  # its features are those of the first <end_of_text>
)",
                                    {Path("texts")});
  const std::vector<std::string> lines = Split(output, '\n');
  ASSERT_EQ(lines.size(), texts.size() + 1);
  size_t wrong = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    std::vector<std::string> ids;
    for (const int32_t id : Clip().Encode(texts[i])) ids.push_back(std::to_string(id));
    if (Join(ids, " ") != lines[i] && ++wrong <= 10) {
      ADD_FAILURE() << "text " << i << " '" << texts[i] << "' cleaned '" << CleanCaption(texts[i])
                    << "'\nours   " << Join(ids, " ") << "\ntheirs " << lines[i];
    }
  }
  EXPECT_EQ(wrong, 0u);
}

// With ftfy whole, captions of clean text still agree: the omitted repair only touches mojibake.
TEST_F(TokenizerReference, OmittedRepairOnlyTouchesMojibake) {
  std::vector<std::string> texts;
  for (const size_t kind : {0, 1, 2, 3, 5, 6, 8}) {
    for (const std::string& piece : kPieces[kind]) texts.push_back("a photo of " + piece + " here");
  }
  std::string bytes;
  for (const std::string& text : texts) bytes += text + '\0';
  Write("texts", bytes);
  const std::vector<std::string> lines = Split(Python(R"(
import sys
from open_clip import get_tokenizer
tokenizer = get_tokenizer("ViT-B-32")
for text in open(sys.argv[1], "rb").read().decode().split("\0")[:-1]:
    print(*tokenizer.encode(text))
)",
                                                      {Path("texts")}),
                                               '\n');
  ASSERT_EQ(lines.size(), texts.size() + 1);
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<int32_t> ids = Clip().Encode(texts[i]);
    std::vector<std::string> inner;
    for (size_t n = 1; n + 1 < ids.size(); ++n) inner.push_back(std::to_string(ids[n]));
    EXPECT_EQ(Join(inner, " "), lines[i]) << texts[i];
  }
}

TEST(Tokenizer, KnownCaption) {
  EXPECT_EQ(Clip().Encode("a photo of a cat"),
            (std::vector<int32_t>{49406, 320, 1125, 539, 320, 2368, 49407}));
  EXPECT_EQ(Clip().Encode(""), (std::vector<int32_t>{49406, 49407}));
}

TEST(Tokenizer, LongTextIsCutAndStillEnds) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "cat ";
  const std::vector<int32_t> ids = Clip().Encode(text);
  ASSERT_EQ(ids.size(), 77u);
  EXPECT_EQ(ids[75], 2368);
  EXPECT_EQ(ids[76], kEndOfText);
}

TEST(Tokenizer, ALiteralEndEndsTheText) {
  EXPECT_EQ(Clip().Encode("a cat<end_of_text> on a mat"), Clip().Encode("a cat"));
  EXPECT_EQ(Clip().Encode("<END_OF_TEXT>"), Clip().Encode(""));
}

// Each of these took from seconds to hours.
TEST(Tokenizer, NoTextTakesLong) {
  std::string amps = "&";
  for (int i = 0; i < 300'000; ++i) amps += "amp;";
  std::string letters;
  RandomStream draws(3, 0, 0);
  for (int i = 0; i < 400'000; ++i) letters += static_cast<char>('a' + draws.NextBelow(26));
  std::string marks = "a";
  for (int i = 0; i < 200'000; ++i) marks += i % 2 ? "\u0323" : "\u0301";
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& text :
       {amps, letters, marks, std::string(1'000'000, '&'), letters + "é" + letters, "é " + amps}) {
    EXPECT_LE(Clip().Encode(text).size(), 77u);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_LT(took.count(), 10);  // on any machine; some hundredths of a second on a quiet one
}

// The start of a long text is what it is without the rest.
TEST(Tokenizer, ALongTextIsItsStart) {
  std::string text;
  for (int i = 0; i < 4000; ++i) text += "é caption &amp; more, ";
  EXPECT_EQ(Clip().Encode(text), Clip().Encode(text.substr(0, 2000)));
}

TEST(Tokenizer, InvalidUtf8IsReplaced) {
  EXPECT_EQ(Clip().Encode("caf\xe9 x"), Clip().Encode("caf\ufffd x"));
}

TEST(Tokenizer, ThreadsAgree) {
  const std::vector<std::string> texts = Corpus();
  std::vector<std::vector<std::vector<int32_t>>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < 500; ++i) result.push_back(Clip().Encode(texts[i]));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
}

TEST(HtmlEntities, LikePythons) {
  EXPECT_EQ(HtmlUnescape("&lt;&#65;&#x42;&notit;&amp"), "<AB¬it;&");
  EXPECT_EQ(HtmlUnescape("&#128;&#0;&#xd800;&#1;&#x110000;"), "€\ufffd\ufffd\ufffd");
  EXPECT_EQ(HtmlUnescape("&nosuch; & &;"), "&nosuch; & &;");
  EXPECT_EQ(FtfyUnescape("P&EACUTE;REZ &lt &amp;"), "PÉREZ &lt &");
}

class TokenizerFiles : public ScratchTest {};

TEST_F(TokenizerFiles, BadMergesFilesAreNamed) {
  EXPECT_THAT(MessageOf([&] { Tokenizer::Load(Path("none.gz")); }),
              testing::AllOf(HasSubstr("E-DATA-VOCAB"), HasSubstr(Path("none.gz")),
                             HasSubstr("No such file")));
  Write("short.txt", "#version\na b\nab c</w>\n");
  EXPECT_THAT(MessageOf([&] { Tokenizer::Load(Path("short.txt")); }),
              testing::AllOf(HasSubstr("short.txt:4"), HasSubstr("the merges end here")));
  Write("odd.txt", "#version\na b\nnot-a-piece x\n");
  EXPECT_THAT(MessageOf([&] { Tokenizer::Load(Path("odd.txt")); }),
              testing::AllOf(HasSubstr("odd.txt:3"), HasSubstr("not a merge")));
  std::ifstream whole(kMerges, std::ios::binary);
  std::string half(300000, '\0');
  whole.read(half.data(), static_cast<std::streamsize>(half.size()));
  Write("half.gz", half);
  EXPECT_THAT(MessageOf([&] { Tokenizer::Load(Path("half.gz")); }),
              testing::AllOf(HasSubstr("E-DATA-VOCAB"), HasSubstr("half.gz")));
}

TEST(Tokenizer, ShippedMergesAreFoundBesideTheProgram) {
  // This program lies in <build>/bin.
  EXPECT_EQ(Tokenizer::Load()->Encode("a cat"), Clip().Encode("a cat"));
}

}  // namespace
}  // namespace contrail::data
