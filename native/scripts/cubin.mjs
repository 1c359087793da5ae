// Reads the kernels of a cubin (ELF, sm_90): instructions are 16 bytes, the operation is the low 12 bits of the first word.

const operations = {
  2544: 'HGMMA',
  3568: 'HGMMA',
  572: 'HMMA',
  1460: 'UTMALDG',
  948: 'UTMALDG',
  949: 'UTMASTG',
  2107: 'LDSM',
  2116: 'STSM',
  4014: 'LDGSTS',
  1447: 'SYNCS',
  2471: 'SYNCS',
  1458: 'SYNCS',
  2504: 'USETMAXREG',
  2435: 'LDL',
  903: 'STL',
  2472: 'ATOMG',
  2446: 'RED',
};

/** Name, number of instructions and counts of some operations for every kernel in `cubin`. */
export function kernelsOf(cubin) {
  const view = new DataView(cubin.buffer, cubin.byteOffset, cubin.byteLength);
  const table = Number(view.getBigUint64(0x28, true));
  const [size, count, namesAt] = [0x3a, 0x3c, 0x3e].map((at) => view.getUint16(at, true));
  const section = (i) => {
    const at = table + i * size;
    const [offset, length] = [0x18, 0x20].map((field) => Number(view.getBigUint64(at + field, true)));
    return { name: view.getUint32(at, true), offset, length };
  };
  const names = section(namesAt);
  const text = (at) => {
    const start = names.offset + at;
    return cubin.toString('latin1', start, cubin.indexOf(0, start));
  };
  const kernels = [];
  for (let i = 0; i < count; i++) {
    const { name, offset, length } = section(i);
    const title = text(name);
    if (!title.startsWith('.text.')) continue;
    const counts = {};
    for (let at = offset; at < offset + length; at += 16) {
      const operation = operations[view.getUint16(at, true) & 0xfff];
      if (operation !== undefined) counts[operation] = (counts[operation] ?? 0) + 1;
    }
    kernels.push({ name: title.slice('.text.'.length), instructions: length / 16, counts });
  }
  return kernels;
}
