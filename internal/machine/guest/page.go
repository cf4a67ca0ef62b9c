package guest

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"time"

	"drawbridge/internal/model"
)

// pageAddress is where the page is served, on every address of the machine.
const pageAddress = ":80"

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Name}}</title></head>
<body><h1>I am {{.Name}}</h1>
<p>A virtual machine ({{.VMM}}) of drawbridge, Linux {{.Release}}, up for {{.Uptime}}. You are {{.Visitor}}.</p>
<ul>{{range .Addresses}}
<li>{{.Link}} {{.Prefix}} ({{.Origin}})</li>{{end}}
</ul></body></html>
`))

// servePage serves the page that says who the machine is.
func (g *guest) servePage(ctx context.Context) {
	server := &http.Server{
		Addr:              pageAddress,
		Handler:           http.HandlerFunc(g.page),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      10 * time.Second,
	}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		g.log("page: %v", err)
	}
}

func (g *guest) page(w http.ResponseWriter, r *http.Request) {
	addresses, err := g.addresses(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = pageTemplate.Execute(w, map[string]any{
		"Name": g.config.Name, "VMM": g.config.VMM, "Release": release(), "Uptime": g.uptime(),
		"Visitor": r.RemoteAddr, "Addresses": addresses,
	})
}

// addresses are those of the NICs, without the loopback's and link-local ones.
func (g *guest) addresses(ctx context.Context) ([]model.Address, error) {
	ns, err := g.kernel.Observe(ctx)
	if err != nil {
		return nil, err
	}
	var out []model.Address
	for _, a := range ns.Addresses {
		if a.Link != "lo" && a.Origin != model.LinkLocal {
			out = append(out, a)
		}
	}
	return out, nil
}
