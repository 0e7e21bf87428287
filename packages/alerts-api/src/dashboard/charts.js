const SVG = 'http://www.w3.org/2000/svg'
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [480, 290, 36, 22]
const LABELS = 5

/** Stacked bars; entries are `{label, counts}`, series name the counts from the bottom up and the classes `bar-NAME`. */
export function stackedBars(entries, series) {
  const totals = entries.map(({ counts }) => series.reduce((sum, name) => sum + counts[name], 0))
  const sum = totals.reduce((all, total) => all + total, 0)
  return chart(entries, totals, `${sum} alerts in ${entries.length} minutes`, Math.round, (entry, scale) => {
    let below = 0
    return series.map(name => {
      const from = below
      below += entry.counts[name]
      return {
        name: `bar-${name}`,
        from: scale(from),
        to: scale(below),
        said: `${entry.label}: ${entry.counts[name]} ${name}`,
      }
    })
  })
}

/** Plain bars of shares; entries are `{label, value}` with values from 0 to 1. */
export function bars(entries) {
  const percent = value => `${Math.round(value * 100)} %`
  const said = entries.map(({ label, value }) => `${label}: ${percent(value)}`).join(', ')
  const values = entries.map(entry => entry.value)
  return chart(entries, values, said, percent, (entry, scale) => [
    { name: 'bar', from: 0, to: scale(entry.value), said: `${entry.label}: ${percent(entry.value)}` },
  ])
}

function chart(entries, totals, said, format, parts) {
  const root = make('svg', {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: 'img',
    'aria-label': said,
  })
  const most = Math.max(...totals) || 1
  const height = HEIGHT - BOTTOM - 10
  const scale = value => (value / most) * height
  const step = (WIDTH - LEFT) / Math.max(1, entries.length)
  root.append(make('line', { class: 'axis', x1: LEFT, x2: WIDTH, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }))
  root.append(label(LEFT - 5, 18, format(most), 'end'), label(LEFT - 5, HEIGHT - BOTTOM, format(0), 'end'))
  for (const [i, entry] of entries.entries()) {
    for (const { name, from, to, said: title } of parts(entry, scale)) {
      if (to <= from) continue
      const bar = make('rect', {
        class: name,
        x: LEFT + i * step + step * 0.1,
        width: step * 0.8,
        y: HEIGHT - BOTTOM - to,
        height: to - from,
      })
      bar.append(Object.assign(make('title', {}), { textContent: title }))
      root.append(bar)
    }
    const every = entries.length > 2 * LABELS ? Math.ceil(entries.length / LABELS) : 1
    if (Math.floor((i + every / 2) % every) === 0)
      root.append(label(LEFT + (i + 0.5) * step, HEIGHT - 5, entry.label, 'middle'))
  }
  return root
}

function make(tag, attributes) {
  const made = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  return made
}

function label(x, y, text, anchor) {
  return Object.assign(make('text', { x, y, 'text-anchor': anchor }), { textContent: text })
}
