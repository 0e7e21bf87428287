import { text } from '../../message.ts'
import { open } from '../../open.ts'
import { now } from './clock.ts'
import { hear, input, tell } from './program.ts'

/**
 * A member of a group that tells what it handles. `fail` names a key it never succeeds with, `hang` one it never
 * finishes ('*': all); with `hold` it finishes nothing before it hears "finish". It works until it is killed, or leaves
 * when it hears "leave".
 */
const transport = await open(input.url)
const running = await transport.subscribe(
  input.topic,
  { group: input.group, mode: input.mode, maxUnacked: input.maxUnacked, retry: input.retry },
  async ({ key, value }, { signal }) => {
    const [name, content] = [key && text(key), value && text(value)]
    if (name === input.fail) {
      tell('failed', content)
      throw new Error('fails for ever')
    }
    tell('begun', content, now())
    if (name === input.hang || input.hang === '*') await new Promise(() => {})
    signal.addEventListener('abort', () => tell('aborted', content))
    if (input.hold) await hear('finish')
    tell('handled', content, now())
  },
)
tell('joined')
running.done.then(
  () => tell('done'),
  error => tell('refused', error.code, error.message),
)
await hear('leave')
await running[Symbol.asyncDispose]()
await transport[Symbol.asyncDispose]()
tell('left')
process.exit()
