#include "checkpoint/index.h"

#include <algorithm>
#include <limits>

#include "checkpoint/hdf5_image.h"

namespace contrail::ckpt {
namespace {

constexpr const char* kNote =
    "a view for people: one file over all shards. Missing or damaged shards read as NaN or wrong "
    "values without an error; verify with: contrail checkpoint verify";

// A stretch of the flat space and where its elements lie.
struct Piece {
  Range range;
  const ShardInfo* shard;
  const RankPart* part;
  uint64_t at;  // first element inside the rank's datasets
};

std::vector<Piece> AllPieces(const Manifest& manifest) {
  std::vector<Piece> pieces;
  for (const ShardInfo& shard : manifest.shards)
    for (const RankPart& part : shard.parts) {
      uint64_t at = 0;
      for (const Range& range : part.ranges) {
        if (range.begin < range.end) pieces.push_back({range, &shard, &part, at});
        at += range.end - range.begin;
      }
    }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.range.begin < b.range.begin; });
  return pieces;
}

Hid MakeSpace(const std::vector<int64_t>& shape) {
  if (shape.empty()) return Hid(H5Screate(H5S_SCALAR), H5Sclose, "make a scalar");
  const std::vector<hsize_t> size(shape.begin(), shape.end());
  return Hid(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr), H5Sclose,
             "make a space");
}

// Maps the overlap of `tensor` and `piece`, box by box.
void Map(hid_t create, const TensorInfo& tensor, const Piece& piece, int kind) {
  const uint64_t begin = std::max(tensor.begin, piece.range.begin);
  const uint64_t end = std::min(tensor.begin + tensor.num_elements, piece.range.end);
  const hsize_t source_size = piece.part->elements();
  hsize_t at = piece.at + (begin - piece.range.begin);
  for (const Box& box : BoxesOf(tensor.shape, begin - tensor.begin, end - tensor.begin)) {
    const Hid target = MakeSpace(tensor.shape);
    hsize_t elements = 1;
    for (const uint64_t count : box.count) elements *= count;
    if (!tensor.shape.empty()) {
      const std::vector<hsize_t> start(box.start.begin(), box.start.end());
      const std::vector<hsize_t> count(box.count.begin(), box.count.end());
      CheckHdf5(
          H5Sselect_hyperslab(target, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr),
          "select a box");
    }
    const Hid source(H5Screate_simple(1, &source_size, nullptr), H5Sclose, "make a space");
    CheckHdf5(H5Sselect_hyperslab(source, H5S_SELECT_SET, &at, nullptr, &elements, nullptr),
              "select a stretch");
    CheckHdf5(H5Pset_virtual(create, target, piece.shard->file.c_str(),
                             DatasetPath(piece.part->rank, kind).c_str(), source),
              "map a stretch");
    at += elements;
  }
}

void MakeTensor(hid_t group, const TensorInfo& tensor, int kind, const std::vector<Piece>& pieces) {
  const Hid create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make properties");
  CheckHdf5(H5Pset_obj_track_times(create, false), "leave time stamps out");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CheckHdf5(H5Pset_fill_value(create, H5T_NATIVE_FLOAT, &nan), "set the fill value");
  auto piece = std::upper_bound(
      pieces.begin(), pieces.end(), tensor.begin,
      [](uint64_t element, const Piece& other) { return element < other.range.end; });
  const uint64_t end = tensor.begin + tensor.num_elements;
  for (; piece != pieces.end() && piece->range.begin < end; ++piece)
    Map(create, tensor, *piece, kind);
  const Hid space = MakeSpace(tensor.shape);
  const Hid set(H5Dcreate2(group, tensor.name.c_str(), H5T_IEEE_F32LE, space, H5P_DEFAULT, create,
                           H5P_DEFAULT),
                H5Dclose, "make a tensor");
}

// The array of buffers.h5, whole.
void MakeBuffer(hid_t group, const BufferPlace& array) {
  const Hid create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make properties");
  CheckHdf5(H5Pset_obj_track_times(create, false), "leave time stamps out");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CheckHdf5(H5Pset_fill_value(create, H5T_NATIVE_FLOAT, &nan), "set the fill value");
  const Hid space = MakeSpace(array.shape);
  CheckHdf5(H5Pset_virtual(create, space, kBuffersName, ("/" + array.name).c_str(), space),
            "map an array");
  const Hid set(H5Dcreate2(group, array.name.c_str(), H5T_IEEE_F32LE, space, H5P_DEFAULT, create,
                           H5P_DEFAULT),
                H5Dclose, "make an array");
}

void PutState(hid_t root, const Manifest& manifest) {
  const RunState& state = manifest.state;
  PutAttribute(root, "format", std::string(kFormatName));
  PutAttribute(root, "note", std::string(kNote));
  PutAttribute(root, "lineage", manifest.lineage);
  PutAttribute(root, "step", state.step);
  PutAttribute(root, "samples_seen", state.samples_seen);
  PutAttribute(root, "phase", state.phase);
  PutAttribute(root, "phase_step", state.phase_step);
  PutAttribute(root, "world_size", state.world_size);
  PutAttribute(root, "attempt", state.attempt);
  PutAttribute(root, "model", state.model);
  PutAttribute(root, "activation", state.activation);
  PutAttribute(root, "resolution", state.resolution);
  PutAttribute(root, "mean_std", state.mean_std);
  PutAttribute(root, "fingerprint", state.fingerprint);
  PutAttribute(root, "data_fingerprint", state.data_fingerprint);
  PutAttribute(root, "parent", state.parent);
  PutAttribute(root, "loss", state.loss);
  PutText(root, "config_toml", state.config_toml);  // an attribute holds 64 KiB at most
}

}  // namespace

uint64_t PiecesOfIndex(const Manifest& manifest) {
  // Where tensors and ranges are both in order and without gaps, every piece begins where one of
  // them begins.
  std::vector<uint64_t> starts;
  for (const Piece& piece : AllPieces(manifest)) starts.push_back(piece.range.begin);
  for (const TensorInfo& tensor : manifest.layout.tensors)
    if (tensor.num_elements > 0) starts.push_back(tensor.begin);
  std::sort(starts.begin(), starts.end());
  const auto end = std::unique(starts.begin(), starts.end());
  return static_cast<uint64_t>(end - starts.begin()) * KindsOf(manifest.weights_only);
}

bool WriteIndex(FileSystem& fs, const std::string& step_dir) {
  const std::string commit = step_dir + "/" + kCommitName;
  const Manifest manifest = DecodeManifest(fs.ReadAll(commit), commit);
  if (manifest.index_bytes > 0) return false;
  fs.WriteAtomically(step_dir + "/" + kIndexName, MakeIndex(manifest));
  return true;
}

std::string MakeIndex(const Manifest& manifest) {
  const std::vector<Piece> pieces = AllPieces(manifest);
  Hdf5Image image(1, 1 << 13);
  {
    const Hid root(H5Gopen2(image.file(), "/", H5P_DEFAULT), H5Gclose, "open the root");
    PutState(root, manifest);
    for (int kind = 0; kind < KindsOf(manifest.weights_only); ++kind) {
      const Hid group(H5Gcreate2(root, kKindNames[kind], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                      H5Gclose, "make a group");
      for (const TensorInfo& tensor : manifest.layout.tensors)
        MakeTensor(group, tensor, kind, pieces);
    }
    if (!manifest.buffers.arrays.empty()) {
      const Hid group(H5Gcreate2(root, "buffer", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose,
                      "make a group");
      for (const BufferPlace& array : manifest.buffers.arrays) MakeBuffer(group, array);
    }
  }
  image.Finish();
  return image.Read(0, image.size());
}

}  // namespace contrail::ckpt
