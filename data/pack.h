#pragma once
// `contrail data pack`: pictures and captions from other layouts into WebDataset tar shards with
// their indexes. The same input and options give the same bytes.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/file_system.h"
#include "data/left_out.h"

namespace contrail::data {

struct PackOptions {
  std::string out;             // directory, made if missing
  std::string name = "pairs";  // shards NAME-000000.tar, NAME-000001.tar, ...
  uint64_t shard_samples = 10000;
  uint64_t seed = 0;   // which template a sample gets, and the order of a folder's pictures
  uint64_t limit = 0;  // stop after so many samples; 0 = all
  std::string caption_key =
      "txt";  // of a folder: "txt", or "json:FIELD" of a .json beside a picture

  // One source: an IDX pair, a folder, or a table.
  std::string images;
  std::string labels;
  std::string folder;
  std::string csv;

  std::string classes;    // files (data/names.h); for labelled sources
  std::string templates;  // without it: "a photo of a {}."
};

// What is told when all is packed.
struct PackNotes {
  LeftOut left_out;            // of a folder: pictures of other kinds
  uint64_t not_utf8 = 0;       // captions
  std::string first_not_utf8;  // file and line of one
  uint64_t empty = 0;          // captions of nothing but white space
  std::string first_empty;
};

// What stands in the files of names; each is read once, it may be a pipe. Empty for one not given.
struct PackNames {
  std::vector<std::string> classes;
  std::vector<std::string> templates;
};

struct PackResult {
  uint64_t samples = 0;
  uint64_t bytes = 0;               // of all shards
  std::vector<std::string> shards;  // paths
  PackNotes notes;
};

// One sample on its way into a shard; an empty text is a member left out.
struct PackSample {
  std::string key;
  std::string extension;  // "png", "jpg", "jpeg"
  std::string image;      // encoded
  std::string caption;
  std::string label;
  std::string json;
  bool has_caption = false;
};

// Where samples come from: IDX files and tables in their own order, a folder's pictures shuffled,
// as its names are sorted by class.
class PackSource {
 public:
  virtual ~PackSource() = default;
  // False at the end.
  virtual bool Next(PackSample& sample) = 0;
  const PackNotes& notes() const { return notes_; }

 protected:
  // Throws UserError E-DATA-ENCODING for UTF-16; notes what is no UTF-8 else, and what is empty.
  void NoteCaption(const std::string& text, const std::string& where);

  PackNotes notes_;
};

// Throw UserError: E-DATA-IDX (not an IDX file, or images and labels that do not belong together),
// E-DATA-NAMES, E-DATA-CAPTION (a picture without one), E-DATA-CSV (file:line), E-DATA-MISSING,
// E-DATA-FOLDER (a link or folder that cannot be followed), E-DATA-ENCODING (a text in UTF-16).
std::unique_ptr<PackSource> OpenIdxSource(const PackOptions& options, const PackNames& names);
std::unique_ptr<PackSource> OpenFolderSource(const PackOptions& options);
std::unique_ptr<PackSource> OpenCsvSource(const PackOptions& options);

// Writes NAME-*.tar, their .index and, where classes are known, classnames.txt and
// zeroshot_classification_templates.txt. Everything is written under a .tmp name and renamed when
// the last byte is durable; on an error all of it is removed. Throws UserError E-DATA-SOURCE (none
// or several sources given), E-DATA-EXISTS (the set is there already), E-DATA-EMPTY,
// EnvironmentError E-IO (a full disk), or what the source throws.
PackResult Pack(FileSystem& files, const PackOptions& options);

}  // namespace contrail::data
