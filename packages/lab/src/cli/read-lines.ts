// Lines of a stream, one at a time, with a bound on what one line may take.
import { StringDecoder } from 'node:string_decoder';

/** Characters that a line may have. */
export const LONGEST_LINE = 1 << 20;

/**
 * The lines of a UTF-8 stream without their line ends and without a byte-order mark; a last line may lack its own. `undefined` stands for a line of more
 * than `LONGEST_LINE` characters, which is never held as a whole.
 */
export async function* readLines(stream: AsyncIterable<Buffer | string>): AsyncGenerator<string | undefined> {
  const decoder = new StringDecoder('utf8');
  let line = '';
  let tooLong = false;
  let begun = false;
  for await (const chunk of stream) {
    const decoded = typeof chunk === 'string' ? chunk : decoder.write(chunk);
    const text = begun ? decoded : decoded.replace(/^\uFEFF/, '');
    begun ||= decoded !== '';
    let from = 0;
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', from)) {
      const whole = tooLong || line.length + at - from > LONGEST_LINE ? undefined : line + text.slice(from, at);
      [line, tooLong, from] = ['', false, at + 1];
      yield whole;
    }
    tooLong ||= line.length + text.length - from > LONGEST_LINE;
    line = tooLong ? '' : line + text.slice(from);
  }
  if (tooLong) yield undefined;
  else if (line !== '') yield line;
}
