// Parameters of recipes, as --set gives them: checked against the recipe's schema, every problem named at once.
import { ConfigError, nearest } from '@physlm/base';
import type { z } from 'zod';

/** @throws ConfigError with every parameter that is unknown or does not fit. */
export function checkParameters<T extends z.ZodObject>(
  recipe: string,
  schema: T,
  parameters: Readonly<Record<string, unknown>>,
): z.infer<T> {
  const known = Object.keys(schema.shape);
  const parsed = schema.safeParse(parameters);
  if (parsed.success) return parsed.data;
  throw new ConfigError(
    parsed.error.issues.flatMap((issue) => {
      if (issue.code === 'unrecognized_keys') {
        return issue.keys.map((key) => ({
          path: key,
          expected: `a parameter of ${recipe}`,
          got: `'${key}'`,
          nearest: nearest(key, known),
        }));
      }
      const path = issue.path.join('.');
      const got = JSON.stringify(parameters[path]) ?? 'nothing';
      if (issue.code === 'invalid_value') {
        const choices = issue.values.map(String);
        const expected = `one of ${choices.join(', ')}`;
        return [{ path, expected, got, nearest: nearest(String(parameters[path]), choices) }];
      }
      if (issue.code === 'too_small') {
        return [{ path, expected: `a number ${issue.inclusive ? 'of at least' : 'above'} ${issue.minimum}`, got }];
      }
      if (issue.code === 'too_big') {
        return [{ path, expected: `a number ${issue.inclusive ? 'of at most' : 'below'} ${issue.maximum}`, got }];
      }
      return [{ path, expected: issue.message.replace(/^.*expected /, '').replace(/, received .*$/, ''), got }];
    }),
  );
}

/** The fields that are not `undefined`. */
export function definedOnly<T extends object>(
  fields: T,
): { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & Partial<{
  [K in keyof T]: NonNullable<T[K]>;
}> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
