#pragma once
// OUT.h5 of `contrail embed`: fp32 features, readable by h5py.
//
//   image_features [N, D] fp32   unit norm, row i belongs to image_keys[i]
//   image_keys     [N]    fixed-length UTF-8 strings, "shard.tar/000123" or the file's name
//   text_features  [M, D] fp32   unit norm, row i is line i of the text file
//   attributes of the root: model, activation, mean_std, checkpoint, step
//
// HDF5 makes the structure in memory, our own pwrite carries it and the payload to disk. The file
// appears under its name only when whole.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/state.h"
#include "common/file_system.h"

namespace contrail::eval {

class FeatureFile {
 public:
  struct Options {
    std::string path;
    int64_t dim = 0;
    bool images = false;                  // has image_features and image_keys
    std::vector<std::string> image_keys;  // one an image
    bool texts = false;
    uint64_t num_texts = 0;
    ckpt::RunState state;
    std::string checkpoint;
  };
  // Throws UserError E-OUT-EXISTS, E-OUT-DIR, EnvironmentError E-IO.
  FeatureFile(FileSystem& fs, const Options& options);
  ~FeatureFile();  // removes what was not committed

  void WriteImages(uint64_t first_row, uint64_t rows, const float* features);
  void WriteTexts(uint64_t first_row, uint64_t rows, const float* features);
  void Commit();  // fsync, close, rename

 private:
  void RemoveTemporary();  // never throws

  FileSystem& fs_;
  std::string path_;
  std::string temporary_;
  uint64_t row_bytes_ = 0;
  uint64_t image_offset_ = 0;
  uint64_t text_offset_ = 0;
  std::unique_ptr<WritableFile> file_;
  bool committed_ = false;
};

}  // namespace contrail::eval
