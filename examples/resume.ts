/**
 * A client that resumes: it keeps the id of the last alert it has handled and gives it back after any break, of the
 * network, of the server or of its own. Run it beside `npm start`: node examples/resume.ts URL TOKEN [CURSOR]
 */
import { setTimeout } from 'node:timers/promises'

const [url = 'http://127.0.0.1:7070', token = '', start] = process.argv.slice(2)
let cursor = start

for (let wait = 100; ; wait = Math.min(wait * 2, 5_000)) {
  try {
    const response = await fetch(`${url}/v1/alerts/stream?from=earliest`, {
      headers: { authorization: `Bearer ${token}`, ...(cursor && { 'last-event-id': cursor }) },
    })
    if (response.status >= 400 && response.status < 500 && response.status !== 429)
      throw new TypeError(await response.text())
    if (!response.ok || !response.body) throw new Error(`answered ${response.status}`)
    wait = 100
    let rest = ''
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      const frames = (rest + chunk).split('\n\n')
      rest = frames.pop() ?? ''
      for (const frame of frames) handle(Object.fromEntries(frame.split('\n').map(line => line.split(/: ?(.*)/s, 2))))
    }
  } catch (error) {
    if (error instanceof TypeError && !error.cause) throw error
    console.error(`Broken off (${(error as Error).message}); again in ${wait} ms from ${cursor ?? 'the start'}`)
  }
  await setTimeout(wait * Math.random())
}

function handle(frame: Record<string, string>): void {
  if (frame.event === 'alert') console.log(frame.id, frame.data)
  else if (frame.event === 'reset') console.error(`Alerts were missed: ${frame.data}`)
  // The work is done before the place is kept: after a crash an alert may come again, and none is missed.
  if (frame.id) cursor = frame.id
}
