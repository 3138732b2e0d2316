#include "checkpoint/buffers.h"

#include "checkpoint/hdf5_image.h"
#include "common/error.h"
#include "common/hash.h"

namespace contrail::ckpt {
namespace {

// Returns the offset of the data.
uint64_t MakeArray(hid_t root, const NamedArray& array) {
  const BufferPlace place = {array.name, array.shape};
  CONTRAIL_ASSERT(array.data.size() == place.elements());
  const std::vector<hsize_t> size(array.shape.begin(), array.shape.end());
  const Hid space(size.empty()
                      ? H5Screate(H5S_SCALAR)
                      : H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr),
                  H5Sclose, "make a space");
  const Hid create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make properties");
  CheckHdf5(H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY), "allocate early");
  CheckHdf5(H5Pset_obj_track_times(create, false), "leave time stamps out");
  const Hid set(
      H5Dcreate2(root, array.name.c_str(), H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT),
      H5Dclose, "make an array");
  CheckHdf5(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, array.data.data()),
            "write an array");
  const haddr_t offset = H5Dget_offset(set);
  CheckHdf5(offset == HADDR_UNDEF ? -1 : 0, "place an array");
  return offset;
}

}  // namespace

BuffersImage MakeBuffers(uint64_t step, const std::vector<NamedArray>& arrays) {
  BuffersImage made;
  if (arrays.empty()) return made;
  Hdf5Image image(1, 1 << 13);
  {
    const Hid root(H5Gopen2(image.file(), "/", H5P_DEFAULT), H5Gclose, "open the root");
    PutAttribute(root, "format", std::string(kFormatName));
    PutAttribute(root, "step", step);
    for (const NamedArray& array : arrays)
      made.file.arrays.push_back({array.name, array.shape, MakeArray(root, array)});
  }
  image.Finish();
  made.bytes = image.Read(0, image.size());
  made.file.bytes = made.bytes.size();
  made.file.crc = Crc32c(0, made.bytes.data(), made.bytes.size());
  return made;
}

}  // namespace contrail::ckpt
